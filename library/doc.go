// Package library keeps documents: named, versioned, with a default version, a hash, tags and quotas, as AWS Systems Manager does, and the
// built-in documents that everybody knows (AWS-RunShellScript and others, in our own words).
//
//	docs := library.New(library.Config{Store: st, Authorizer: authz, Audit: log})
//	made, err := docs.CreateDocument(ctx, library.CreateDocumentRequest{Name: "Restart-Web", DocumentType: "Command", Content: text})
//	next, err := docs.UpdateDocument(ctx, library.UpdateDocumentRequest{Name: "Restart-Web", DocumentVersion: "$LATEST", Content: better})
//	_, err = docs.UpdateDocumentDefaultVersion(ctx, library.UpdateDocumentDefaultVersionRequest{Name: "Restart-Web", DocumentVersion: "2"})
//
// Requests and results have the members of AWS's operations under AWS's names, so that JSON written for AWS decodes into them. Times are time.Time; a
// face that speaks AWS's protocol writes them as AWS does.
//
// # Rules
//
// Content is read by package document before it is kept, so that a document that is here can run: kinds that package document cannot read are refused.
// Every change of content makes version n+1; numbers are never used again, also when the newest version was deleted. The default version moves only when told (V1). Only the newest
// version can be updated, which makes the update a comparison: two who saw the same version cannot both write (V2).
//
// Names that begin as AWS's do are reserved (D3, whatever the case). The built-in documents stand under such names, belong to "Amazon" as they do on AWS, have
// the one version 1, and are the same for every tenant; they cannot be changed.
//
// Every operation asks the authorizer for AWS's action on "document/NAME", with the document's tags as attributes, before it says whether the document exists. A list
// leaves out what the caller may not see. Calls are audited, changes in the transaction that makes them.
//
// # Records
//
// Under tenant/"library": "document"/name has what a list shows; "version"/name/number what is known of a version; "content"/name/number the
// text as it was given; "versionname"/name/version name the number.
package library
