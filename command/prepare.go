package command

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fleetwright/fleetwright/access"
	"github.com/fleetwright/fleetwright/document"
	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/message"
	"github.com/fleetwright/fleetwright/target"
)

// Limits of a request (AWS's, R1 and R3).
const (
	maxInstanceIDs  = 50
	maxComment      = 100
	maxToken        = 64
	maxDocument     = 2048
	maxVersion      = 128
	maxHash         = 256
	maxNode         = message.MaxName
	minTimeout      = 30
	maxTimeout      = 2_592_000
	defTimeout      = 3600
	pageOfTargets   = 5_000
	maxRunDocuments = 3   // depth of aws:runDocument (P11)
	maxIncludes     = 250 // documents with parameters that a command may run by aws:runDocument
)

// prepared is a request that was found good: everything that Send writes and Plan shows.
type prepared struct {
	req       SendRequest
	doc       *document.Document
	bound     *document.Bound
	content   []byte
	format    string
	version   string
	included  []message.Included
	paths     []string        // names under which steps run the included documents
	shipped   int             // bytes of the included documents
	seen      map[string]bool // documents with parameters that were included
	ids       []string        // ascending
	rate      struct{ concurrency, errors target.Rate }
	execution time.Duration
	ssm       map[string]string // what {{ssm:name}} references of the document stood for
}

// answers keeps what a resolver answered, so that the node puts in the same values. Without a resolver no name is known.
type answers struct {
	resolver document.Resolver
	found    map[string]string
}

func (a *answers) Parameters(ctx context.Context, names []string) (map[string]string, error) {
	if a.resolver == nil {
		return nil, nil
	}
	m, err := a.resolver.Parameters(ctx, names)
	for n, v := range m {
		if a.found == nil {
			a.found = map[string]string{}
		}
		a.found[n] = v
	}
	return m, err
}

// prepare validates a request, reads and binds its document and resolves its targets. It writes nothing.
func (s *Service) prepare(ctx context.Context, op string, req SendRequest) (*prepared, error) {
	p := &prepared{req: req}
	if err := p.defaults(op); err != nil {
		return nil, err
	}
	if err := access.Check(ctx, s.cfg.Authorizer, "ssm:SendCommand", "document/"+p.req.DocumentName, nil); err != nil {
		return nil, err
	}
	tenant := access.Tenant(ctx)
	if err := s.readDocument(ctx, op, tenant, p); err != nil {
		return nil, err
	}
	if err := s.include(ctx, op, tenant, p, p.bound, 1); err != nil {
		return nil, err
	}
	if err := s.resolve(ctx, op, tenant, p); err != nil {
		return nil, err
	}
	return p, nil
}

// defaults checks the form of the request and fills in AWS's defaults.
func (p *prepared) defaults(op string) (err error) {
	r := &p.req
	invalid := func(format string, args ...any) error {
		return fault.New(op, fault.Validation, format, args...)
	}
	switch {
	case r.DocumentName == "" && len(r.Content) == 0:
		return invalid("name a document in DocumentName")
	case len(r.DocumentName) > maxDocument:
		return invalid("DocumentName is longer than %d characters", maxDocument)
	case len(r.DocumentVersion) > maxVersion || len(r.DocumentHash) > maxHash:
		return invalid("DocumentVersion has at most %d characters, DocumentHash at most %d", maxVersion, maxHash)
	case utf8.RuneCountInString(r.Comment) > maxComment:
		return invalid("the comment has %d characters; at most %d are allowed", utf8.RuneCountInString(r.Comment), maxComment)
	case len(r.ClientToken) > maxToken:
		return invalid("the client token has %d characters; at most %d are allowed", len(r.ClientToken), maxToken)
	case len(r.InstanceIDs) > maxInstanceIDs:
		return invalid("InstanceIds has %d ids; at most %d are allowed: use Targets for more", len(r.InstanceIDs), maxInstanceIDs)
	case len(r.InstanceIDs) > 0 && len(r.Targets) > 0:
		return invalid("give either InstanceIds or Targets, not both")
	case len(r.InstanceIDs) == 0 && len(r.Targets) == 0:
		return invalid("say on which nodes to run: give InstanceIds or Targets")
	case r.DocumentHashType != "" && r.DocumentHashType != "Sha256":
		return invalid("DocumentHashType %q is not supported: use Sha256", fault.Clean(r.DocumentHashType))
	case r.OutputLimit < 0:
		return invalid("OutputLimit is negative")
	}
	if r.DocumentName == "" {
		r.DocumentName = "inline"
	}
	if r.TimeoutSeconds == 0 {
		r.TimeoutSeconds = defTimeout
	}
	if r.TimeoutSeconds < minTimeout || r.TimeoutSeconds > maxTimeout {
		return invalid("TimeoutSeconds is %d; it must be %d to %d", r.TimeoutSeconds, minTimeout, maxTimeout)
	}
	if r.MaxConcurrency == "" {
		r.MaxConcurrency = "50"
	}
	if r.MaxErrors == "" {
		r.MaxErrors = "0"
	}
	if p.rate.concurrency, err = target.ParseConcurrency(r.MaxConcurrency); err != nil {
		return wrap(op, err)
	}
	if p.rate.errors, err = target.ParseErrors(r.MaxErrors); err != nil {
		return wrap(op, err)
	}
	for _, id := range r.InstanceIDs {
		if id == "" || len(id) > maxNode {
			return fault.New(op, fault.InvalidInstanceID, "a node id has 1 to %d characters, not %d", maxNode, len(id))
		}
	}
	if d := duplicate(r.InstanceIDs); d != "" {
		return fault.New(op, fault.DuplicateInstanceID, "node %s is named twice in InstanceIds", fault.Clean(d))
	}
	if len(r.Targets) > 0 {
		return wrap(op, target.Validate(r.Targets, nil))
	}
	return nil
}

func duplicate(ids []string) string {
	seen := make(map[string]bool, len(ids))
	for _, id := range ids {
		if seen[id] {
			return id
		}
		seen[id] = true
	}
	return ""
}

// readDocument fetches, pins, parses and binds the document.
func (s *Service) readDocument(ctx context.Context, op, tenant string, p *prepared) error {
	r := &p.req
	p.content, p.version = r.Content, r.DocumentVersion
	file := r.DocumentName
	if len(p.content) == 0 {
		content, format, version, _, err := s.cfg.Documents.Fetch(ctx, tenant, r.DocumentName, r.DocumentVersion)
		if err != nil {
			return wrap(op, err)
		}
		p.content, p.format, p.version = content, format, version
	}
	doc, err := document.Parse(p.content, &document.Options{File: file, Format: document.Format(p.format), Actions: s.cfg.Actions})
	if err != nil {
		return wrap(op, err)
	}
	if doc.Kind != "Command" && doc.Kind != "" {
		return fault.New(op, fault.InvalidDocument, "document %s is of type %s; only Command documents can be sent to nodes", fault.Clean(file), doc.Kind)
	}
	if r.DocumentHash != "" && !strings.EqualFold(r.DocumentHash, doc.Hash()) {
		return fault.New(op, fault.InvalidDocument, "document %s has the hash %s, not the %s that the request pins: it was changed", fault.Clean(file), doc.Hash(), fault.Clean(r.DocumentHash))
	}
	p.doc, p.format = doc, string(doc.Format)
	p.bound, err = doc.Bind(r.Parameters, &document.BindOptions{RefuseRaw: s.cfg.RefuseRaw})
	if err != nil {
		return wrap(op, err)
	}
	answers := &answers{resolver: s.cfg.Parameters}
	if err := p.bound.ResolveSSM(ctx, answers); err != nil {
		return wrap(op, err)
	}
	p.ssm = answers.found
	p.execution = p.bound.ExecutionTimeout()
	return nil
}

// include fetches the documents that aws:runDocument steps name, pinned by hash, to three levels. What cannot be bound here, because its own parameters are
// bad, is left to the node, where the step fails with the reason.
func (s *Service) include(ctx context.Context, op, tenant string, p *prepared, b *document.Bound, depth int) error {
	if depth > maxRunDocuments {
		return fault.New(op, fault.InvalidDocument, "document %s runs documents more than %d levels deep", fault.Clean(p.req.DocumentName), maxRunDocuments)
	}
	for _, ref := range b.Included() {
		given, err := json.Marshal([]any{ref.Name, ref.Version, ref.Parameters})
		if err != nil {
			return wrap(op, err)
		}
		if p.seen[string(given)] {
			continue
		}
		if p.seen == nil {
			p.seen = map[string]bool{}
		}
		if p.seen[string(given)] = true; len(p.seen) > maxIncludes {
			return fault.New(op, fault.InvalidDocument, "document %s runs other documents in more than %d ways", fault.Clean(p.req.DocumentName), maxIncludes)
		}
		child, err := s.includeOne(ctx, op, tenant, p, ref)
		if err != nil {
			return err
		}
		if cb, err := child.Bind(ref.Parameters, nil); err == nil {
			if err := s.include(ctx, op, tenant, p, cb, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// includeOne fetches one document and has it sent along. A node gets one version of a name.
func (s *Service) includeOne(ctx context.Context, op, tenant string, p *prepared, ref document.IncludedRef) (*document.Document, error) {
	content, format, version, hash, err := s.cfg.Documents.Fetch(ctx, tenant, ref.Name, ref.Version)
	if err != nil {
		return nil, &fault.Error{Op: op, Code: fault.CodeOf(err), ID: ref.Name, Err: err,
			Msg: fmt.Sprintf("step %d of document %s runs document %s: %s", ref.Step+1, fault.Clean(p.req.DocumentName), fault.Clean(ref.Name), fault.MessageOf(err))}
	}
	switch at := slices.Index(p.paths, ref.Name); {
	case at >= 0 && p.included[at].Hash != hash:
		return nil, fault.New(op, fault.InvalidDocument, "document %s runs document %s in versions %s and %s: a node gets one version of a name",
			fault.Clean(p.req.DocumentName), fault.Clean(ref.Name), p.included[at].Version, version)
	case at < 0:
		if p.shipped += len(content); p.shipped > message.MaxBody {
			return nil, tooLarge(op, p.shipped)
		}
		p.paths = append(p.paths, ref.Name)
		p.included = append(p.included, message.Included{Name: ref.Name, Version: version, Hash: hash, Document: content, Format: format})
	}
	child, err := document.Parse(content, &document.Options{File: ref.Name, Format: document.Format(format), Actions: s.cfg.Actions})
	return child, wrap(op, err)
}

func tooLarge(op string, n int) error {
	return fault.New(op, fault.MaxDocumentSizeExceeded, "the document, its parameters and the documents that it runs have %d bytes or more; a message to a node holds %d", n, message.MaxBody)
}

// resolve finds the nodes. Named ones must exist, be allowed, and run a platform of the document; those matched by targets are judged one by one when their turn comes.
func (s *Service) resolve(ctx context.Context, op, tenant string, p *prepared) error {
	if len(p.req.InstanceIDs) == 0 {
		for after := ""; ; {
			ids, next, err := s.cfg.Nodes.Resolve(ctx, tenant, p.req.Targets, after, pageOfTargets)
			if err != nil {
				return wrap(op, err)
			}
			p.ids = append(p.ids, ids...)
			if len(p.ids) > s.cfg.MaxTargets {
				return fault.New(op, fault.Validation, "the targets match more than %d nodes: narrow them, or raise the limit", s.cfg.MaxTargets)
			}
			if next == "" {
				// Nodes that change while pages are read may show twice or out of order; what follows counts on a set in ascending order.
				slices.Sort(p.ids)
				p.ids = slices.Compact(p.ids)
				return nil
			}
			if next <= after {
				return fault.New(op, fault.InternalServerError, "the list of nodes does not advance past %s", fault.Clean(after))
			}
			after = next
		}
	}
	nodes, err := s.cfg.Nodes.Nodes(ctx, tenant, p.req.InstanceIDs)
	if err != nil {
		return wrap(op, err)
	}
	known := make(map[string]*target.Node, len(nodes))
	for i := range nodes {
		known[nodes[i].ID] = &nodes[i]
	}
	for _, id := range p.req.InstanceIDs {
		// A node that the caller may not use looks like one that does not exist.
		n := known[id]
		if n == nil || access.Check(ctx, s.cfg.Authorizer, "ssm:SendCommand", "node/"+id, n.Tags) != nil {
			return fault.New(op, fault.InvalidInstanceID, "node %s does not exist, or you may not run commands on it", fault.Clean(id))
		}
		if why := p.unsuited(n); why != "" {
			return fault.New(op, fault.UnsupportedPlatformType, "node %s cannot run document %s: %s", fault.Clean(id), fault.Clean(p.req.DocumentName), why)
		}
	}
	p.ids = slices.Sorted(slices.Values(p.req.InstanceIDs))
	return nil
}

func (p *prepared) unsuited(n *target.Node) string {
	return unsuited(n, p.doc.PlatformTypes(), p.doc.Needs(), p.req.RequireSigned)
}

// unsuited says why a node cannot take a command, or "".
func unsuited(n *target.Node, platforms, needs []string, signed bool) string {
	if n.Platform != "" && len(platforms) > 0 && !slices.Contains(platforms, n.Platform) {
		return fmt.Sprintf("it runs %s, the document is for %s", n.Platform, strings.Join(platforms, ", "))
	}
	for _, c := range needs {
		if !n.Can(c) {
			return "its agent does not know " + c + ": update it"
		}
	}
	if signed && n.Assurance != target.Signed {
		return "its agent does not sign (assurance " + string(n.Assurance) + "), and the request demands it"
	}
	return ""
}

// digest identifies a request for its client token.
func (p *prepared) digest() string {
	r := p.req
	r.ClientToken = ""
	b, _ := json.Marshal(r) //nolint:errcheck // plain data
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
