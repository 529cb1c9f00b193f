// Package ssmparam is AWS's own Parameter Store as a parameter.Store, through AWS's SDK: a program that is written against parameter.Store runs on either.
//
//	cfg, err := config.LoadDefaultConfig(ctx)
//	params, err := ssmparam.New(ssm.NewFromConfig(cfg), &ssmparam.Options{Cache: &ssmparam.Cache{TTL: time.Minute}})
//	got, err := params.GetParameter(ctx, parameter.GetParameterRequest{Name: "/web/db/password", WithDecryption: true})
//	conn.Auth(got.Parameter.Value.Secret())
//
// It passes parametertest, the suite of the native implementation.
//
// # Who calls
//
// AWS sees the credentials of the client, not access.From(ctx): its policies decide and CloudTrail records. A host that lets several principals use one Store must check them before; the
// cache is shared among them, too.
//
// # Secrets
//
// A value that AWS decrypted is a parameter.Value that hides. What AWS says when it refuses a value may quote it, so the text of its answers to PutParameter is kept only for codes whose
// texts cannot; the causes of errors are not kept. The SDK's log gets no bodies from here
// (aws.LogRequestWithBody and aws.LogResponseWithBody write what they write without the body), nor those texts.
//
// # Tries and answers that were lost
//
// Throttled and failed reads are tried again by the SDK as the client is configured. A write is tried again only after an answer that says that nothing was done (throttling, 503), or if no
// connection was made: a repeated PutParameter would make two versions. A write without an answer is fault.OutcomeUnknown: look before you repeat it.
//
// # The cache
//
// With Options.Cache, answers of GetParameter and GetParameters are kept by name and selector, at most Cache.Entries of them, for Cache.TTL. Errors are never kept, nor decrypted
// SecureStrings unless Cache.Secrets asks for it. A write through the same Store drops what is kept of the parameter before and after it, and what was read meanwhile is not kept, so that a
// program reads what it wrote; what others write is seen after TTL. Reads of one name that come at once make one call.
package ssmparam
