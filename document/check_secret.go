package document

import (
	"regexp"
	"strings"
)

// namedSecrets warns of texts under keys that promise a secret, at any depth.
func (c *collector) namedSecrets(s *Step, v *Value) {
	if s.Action == "aws:loop" {
		return // its steps are looked at by themselves
	}
	for i := range v.Fields() {
		f := &v.fields[i]
		if secretName(f.Key) && f.Value.Kind() == String && f.Value.text != "" && f.Value.tmpl == nil && !strings.ContainsAny(f.Value.text, "<$%") {
			c.at(f.Value, Warning, "secret-plain", "input %s of step %s looks like a secret that anybody who reads the document sees: use a parameter or Parameter Store", clip(f.Key), clip(s.Name))
		}
		c.namedSecrets(s, f.Value)
	}
	for _, it := range v.Items() {
		c.namedSecrets(s, it)
	}
}

// keyForms are texts that are keys whatever stands around them. AWS's examples end in EXAMPLE.
var keyForms = regexp.MustCompile(`\b(?:AKIA|ASIA)[A-Z2-7]{16}\b|-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bxox[abprs]-[A-Za-z0-9-]{20,}`)

// secrets warns of keys inside any text of the document. The message never has the key.
func (c *collector) secrets(v *Value) {
	if v.Kind() == String && (strings.Contains(v.text, "AKIA") || strings.Contains(v.text, "ASIA") || strings.Contains(v.text, "PRIVATE KEY-----") || strings.Contains(v.text, "gh") || strings.Contains(v.text, "xox")) {
		if found := keyForms.FindString(v.text); found != "" && !strings.HasSuffix(found, "EXAMPLE") {
			c.at(v, Warning, "secret-plain", "the text has a key that anybody who reads the document sees: revoke it, and keep the new one in Parameter Store as a SecureString")
		}
	}
	for _, it := range v.Items() {
		c.secrets(it)
	}
	for i := range v.Fields() {
		c.secrets(v.fields[i].Value)
	}
}

// piped finds lines that run what they download without looking at it.
var piped = regexp.MustCompile(`\b(?:curl|wget)\s[^|;&\n]*\|\s*(?:sudo\s+(?:-\S+\s+)*)?(?:ba|da|z)?sh\b|(?i:\b(?:iex|Invoke-Expression)\b[^\n]*\b(?:DownloadString|Invoke-WebRequest|iwr)\b)`)

// sources warns of content that is run without a look at its digest: who can change it at its source runs commands on the nodes.
func (c *collector) sources(s *Step) {
	switch s.Action {
	case "aws:applications", "aws:psModule":
		if src := s.given("source"); src.Text() != "" && s.given("sourceHash").Text() == "" {
			c.at(src, Warning, "download-digest", "whoever can change what lies at this source runs commands on the nodes: give its digest as sourceHash")
		}
	case "aws:downloadContent":
		info := s.given("sourceInfo")
		has := func(key string) bool {
			return info.fold(key).Text() != "" || info.Kind() == String && (info.tmpl.whole() != "" || strings.Contains(info.text, key))
		}
		switch kind := s.given("sourceType").Text(); {
		case strings.EqualFold(kind, "HTTP") && !has("digest"):
			c.at(info, Warning, "download-digest", "whoever can change what lies at this address runs commands on the nodes: give its digest in sourceInfo, \"digest\": \"sha256:…\" (beyond AWS)")
		case (strings.EqualFold(kind, "Git") || strings.EqualFold(kind, "GitHub")) && !has("digest") && !strings.Contains(info.fold("getOptions").Text()+info.Text(), "commitID"):
			c.at(info, Warning, "download-digest", "a branch can be changed after you looked at it: name a commit, getOptions: \"commitID:…\"")
		}
	}
	if s.spec == nil || s.spec.Shell == "" {
		return
	}
	v := s.given("runCommand")
	for _, it := range append([]*Value{v}, v.Items()...) {
		if it.Kind() == String && (strings.Contains(it.text, "curl") || strings.Contains(it.text, "wget") || strings.Contains(it.text, "ownload") || strings.Contains(it.text, "nvoke-")) && piped.MatchString(it.text) {
			c.at(it, Warning, "download-digest", "the script runs what it downloads without a look at it: save it, compare its sha256sum with the one you know, then run it")
		}
	}
}

// waiting tells of steps that wait for something outside without saying for how long.
func (c *collector) waiting(s *Step) {
	switch {
	case s.spec == nil || !s.spec.Waits || s.Source.Get("timeoutSeconds").Kind() != Null:
	case s.spec.Timeout == 0:
		c.at(s.Source, Warning, "no-timeout", "step %s waits for ever: say timeoutSeconds", clip(s.Name))
	default:
		c.at(s.Source, Advice, "no-timeout", "step %s waits for up to %s, the default of %s: say timeoutSeconds", clip(s.Name), span(s.spec.Timeout), s.Action)
	}
}

// span says seconds as people do.
func span(n int64) string {
	for _, u := range []struct {
		n    int64
		name string
	}{{86_400, "day"}, {3600, "hour"}, {60, "minute"}} {
		if n >= u.n && n%u.n == 0 {
			if n == u.n {
				return "1 " + u.name
			}
			return itoa(int(n/u.n)) + " " + u.name + "s"
		}
	}
	return itoa(int(n)) + " seconds"
}
