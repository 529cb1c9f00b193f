package iam

import (
	"strings"
)

// principals is a Principal or NotPrincipal.
type principals struct {
	not      bool
	everyone bool
	named    map[string][]string // by type: AWS, Service, Federated, CanonicalUser
}

func (r *parser) principals(v *value, not bool) *principals {
	p := &principals{not: not, named: map[string][]string{}}
	if v.str != nil {
		if p.everyone = *v.str == "*"; !p.everyone {
			r.badValue(v, `a principal is "*", or an object as {"AWS": "arn:aws:iam::123456789012:user/ann"}`)
		}
		return p
	}
	if v.kind != '{' || len(v.object) == 0 {
		r.badValue(v, `a principal is "*", or an object as {"AWS": "arn:aws:iam::123456789012:user/ann"}`)
		return p
	}
	r.fields(v, "AWS, Service, Federated, CanonicalUser", func(name string) func(*value) {
		switch name {
		case "AWS", "Service", "Federated", "CanonicalUser":
			return func(v *value) {
				r.texts(v, func(v *value, s string) {
					switch {
					case s == "*" && name == "AWS":
						p.everyone = true
						return
					case s == "" || strings.ContainsAny(s, "*?"):
						r.badValue(v, "a principal is named whole: wildcards do not work here, except * for everybody")
						return
					case name == "AWS" && !isAccount(s) && !isARN(s):
						r.badValue(v, "this is no account, no ARN and not *")
						return
					}
					p.named[name] = append(p.named[name], s)
				})
			}
		}
		return nil
	})
	return p
}

// isAccount reports whether s can be an account: twelve digits at AWS, here also the name of a tenant.
func isAccount(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.'
	})
}

// Principal is who asks.
type Principal struct {
	// ARN is of a user (arn:aws:iam::ACCOUNT:user/NAME), of the session of a role (arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION), of an account's root, …; empty is the anonymous.
	ARN string
	// Role is the ARN of the role of a session; empty is made of the session's ARN, whose role has no path then.
	Role string
	// Account is that of the principal; empty is taken from the ARN.
	Account string
	// Service is the name of a service that asks for itself, as ssm.amazonaws.com; Federated the provider of a federated user; CanonicalUser the id of one.
	Service, Federated, CanonicalUser string
}

func (p *Principal) account() string {
	if p.Account != "" {
		return p.Account
	}
	if isARN(p.ARN) {
		return strings.SplitN(p.ARN, ":", 6)[4]
	}
	return ""
}

func (p *Principal) role() string {
	if p.Role != "" {
		return p.Role
	}
	if !isARN(p.ARN) {
		return ""
	}
	s := strings.SplitN(p.ARN, ":", 6)
	rest, ok := strings.CutPrefix(s[5], "assumed-role/")
	name, _, _ := strings.Cut(rest, "/")
	if !ok || s[2] != "sts" || name == "" {
		return ""
	}
	return "arn:" + s[1] + ":iam::" + s[4] + ":role/" + name
}

// reach is how a statement names the one who asks.
type reach uint8

const (
	missed    reach = iota
	delegated       // by the account
	general         // as everybody, by role, service, …
	exact           // by the ARN of the user or the session
)

func (s *statement) reaches(p *Principal, ofResource bool) reach {
	switch {
	case s.principals == nil && !ofResource:
		return general
	case s.principals == nil && s.deny: // a resource's statement that names nobody: it forbids to everybody and allows to none
		return general
	case s.principals == nil:
		return missed
	}
	found := s.principals.find(p)
	if s.principals.not { // an account that is named stands for its root alone here: naming one user and the account leaves out that user
		if found <= delegated {
			return general
		}
		return missed
	}
	return found
}

func (n *principals) find(p *Principal) reach {
	best := missed
	if n.everyone {
		best = general
	}
	for _, s := range n.named["AWS"] {
		switch account := p.account(); {
		case p.ARN != "" && s == p.ARN:
			return exact
		case p.role() != "" && s == p.role():
			best = max(best, general)
		case account != "" && (s == account || isRoot(s, account)):
			best = max(best, delegated)
		}
	}
	for kind, own := range map[string]string{"Service": p.Service, "Federated": p.Federated, "CanonicalUser": p.CanonicalUser} {
		for _, s := range n.named[kind] {
			if own != "" && (s == own || kind == "Service" && strings.EqualFold(s, own)) {
				best = max(best, general)
			}
		}
	}
	return best
}

// isRoot reports whether s is the ARN of the account itself.
func isRoot(s, account string) bool {
	parts := strings.SplitN(s, ":", 6)
	return len(parts) == 6 && parts[2] == "iam" && parts[4] == account && parts[5] == "root"
}
