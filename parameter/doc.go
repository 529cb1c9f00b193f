// Package parameter is Parameter Store: configuration and secrets by name, with versions, labels, a hierarchy, policies and events, as AWS Systems Manager keeps them, over any store and any key service.
//
//	params := parameter.New(parameter.Config{Store: st, Box: seal.NewBox(keys, nil), Authorizer: authz, Audit: log})
//	_, err := params.PutParameter(ctx, parameter.PutParameterRequest{Name: "/web/db/password", Type: parameter.SecureString, Value: parameter.Secret(password)})
//	got, err := params.GetParameter(ctx, parameter.GetParameterRequest{Name: "/web/db/password", WithDecryption: true})
//	conn.Auth(got.Parameter.Value.Secret())
//
// [Store] is what a program uses; [Service] implements it. Beyond AWS a Service compares and sets ([Service.Put]), changes several parameters at once ([Service.Transact]), is followed
// ([Service.Watch]), read as of an instant ([Service.GetAt], [Service.ByPathAt]), asked by tag, label and time of change ([Service.Query]), exported and imported ([Service.Export],
// [Service.Import]), compared ([Diff]) and given new keys ([Service.Rewrap]).
//
// # Rules
//
// Names, types, tiers, versions, labels, filters, limits and error codes are AWS's; the statements S1 to S34 stand in the tests. Where AWS is silent the safe reading is taken: an overwrite
// leaves what it does not mention as it is; a forbidden parameter looks like an absent one in every list; a page is full unless it is the last or the list had to look at very many parameters.
//
// A SecureString is an envelope of package seal, bound to tenant, name, version and type. Without a key service it can be neither written nor read (rule R-16); all else goes on.
//
// Every operation asks the authorizer, per parameter in lists too, with the resource "parameter/NAME" and the parameter's tags as attributes. Changes are audited in their transaction,
// decrypting reads before the answer, other reads through the audit log's buffer.
//
// # Records
//
// Under tenant/"parameter": "head"/name has the newest version whole, so that reading it is one read of the store; "past"/name/version the older ones; "lb"/name/hash the version of a label; a letter with a
// hash/name the indexes; "time"/instant/name when which was changed; "due"/instant/name/policy what Tick has to do; "count"/shard how many there are; "events" the feed; "gone"/name the deletion of a name;
// "pending"/instant/id what waits for a validator; "pol"/name/id resource policies; "sh"/owner/name, in the consumer's tenant, what was shared with it. Names in keys begin with "/". Elements are short
// because a name of the longest must fit into a key.
package parameter
