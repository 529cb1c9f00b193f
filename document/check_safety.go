package document

import "strings"

// safety warns of what lets values or secrets go where they should not.
func (c *collector) safety(d *Document) {
	for i := range d.Parameters {
		p := &d.Parameters[i]
		if secretName(p.Name) && p.Default.Kind() == String && p.Default.text != "" && p.Default.tmpl == nil && len(p.AllowedValues) == 0 {
			c.at(p.Default, Warning, "secret-plain", "the default of parameter %s looks like a secret that anybody who reads the document sees: keep it in Parameter Store as a SecureString", p.Name)
		}
	}
	if role := d.Root.Get("assumeRole"); role.Kind() == String {
		if p, ok := d.Parameter(role.tmpl.whole()); ok && p.AllowedPattern == "" && len(p.AllowedValues) == 0 && p.Type == TypeString {
			f := c.at(role, Warning, "role-open", "whoever starts the runbook names any role in parameter %s: declare its type as AWS::IAM::Role::Arn, or give it an allowedPattern", p.Name)
			c.replace(f, p.Source.Get("type"), "AWS::IAM::Role::Arn")
		}
	}
	d.everyStep(func(s *Step) {
		switch s.Action {
		case "aws:downloadContent":
			c.download(s)
		case "aws:runCommand":
			c.sentScripts(d, s)
		case "aws:executeScript":
			c.embedded(d, s)
		}
		c.namedSecrets(s, s.Inputs)
		c.secure(s)
		c.sources(s)
		c.waiting(s)
	})
	c.secrets(d.Root)
}

// secretName reports whether a name promises a secret.
func secretName(s string) bool {
	s = strings.ToLower(s)
	for _, w := range []string{"password", "passwd", "secretkey", "secretaccesskey", "privatekey", "apikey", "accesstoken", "authtoken"} {
		if strings.HasSuffix(s, w) {
			return true
		}
	}
	return false
}

// download warns of content that anybody on the way can replace.
func (c *collector) download(s *Step) {
	info := s.given("sourceInfo")
	url := info.fold("url")
	text := url.Text()
	at := url
	if info.Kind() == String {
		text, at = info.text, info
	}
	if strings.EqualFold(s.given("sourceType").Text(), "HTTP") && strings.Contains(text, "http://") {
		c.at(at, Warning, "download-plain", "the content comes over plain HTTP, where anybody on the way can replace it: use https")
	}
}

// sentScripts warns of parameters pasted into scripts that a runbook sends.
func (c *collector) sentScripts(d *Document, s *Step) {
	shell := map[string]string{"AWS-RunShellScript": "sh", "AWS-RunPowerShellScript": "powershell"}[s.given("DocumentName").Text()]
	if shell == "" {
		return
	}
	type seen struct {
		p  *Parameter
		at *Value
	}
	told := map[seen]bool{}
	for _, u := range d.scriptUses(nil, s, s.given("Parameters").fold("commands"), shell) {
		if k := (seen{u.p, u.at}); !u.safe() && !told[k] {
			told[k] = true
			c.at(u.at, Warning, "raw-parameter", "parameter %s is pasted into a script, so its value can be any command: give it an allowedPattern that stops metacharacters, or send it as a parameter of a document of your own that declares ENV_VAR", u.p.Name)
		}
	}
}

// embedded warns of parameters pasted into the source of a script: InputPayload is for them.
func (c *collector) embedded(d *Document, s *Step) {
	v := s.given("Script")
	if v.Kind() != String {
		return
	}
	told := map[string]bool{}
	v.tmpl.each(func(name string) {
		p, ok := d.Parameter(name)
		if !ok || told[name] || (&use{p: p, place: otherProgram}).safe() {
			return
		}
		told[name] = true
		c.at(v, Warning, "raw-parameter", "parameter %s is pasted into the source of the script, so its value can be code: pass it in InputPayload and read events", p.Name)
	})
}

// secure checks that {{ssm-secure:}} stands only where AWS resolves it (I11).
func (c *collector) secure(s *Step) {
	for _, in := range s.inputs {
		if spec := s.spec.Input(in.name); spec != nil && spec.Secure {
			continue
		}
		c.noSecure(s, in.v)
	}
}

func (c *collector) noSecure(s *Step, v *Value) {
	if v.Kind() == String {
		v.tmpl.each(func(name string) {
			if strings.HasPrefix(name, "ssm-secure:") {
				c.at(v, Warning, "secure-place", "{{ %s }} is resolved only in sourceInfo of aws:downloadContent: here it stays as it is", clip(name))
			}
		})
	}
	for _, it := range v.Items() {
		c.noSecure(s, it)
	}
	for i := range v.Fields() {
		c.noSecure(s, v.fields[i].Value)
	}
}

// types checks that an input which is one placeholder gets a value of a type that it takes (D17).
func (c *collector) types(d *Document) {
	outputs := d.outputTypes()
	d.everyStep(func(s *Step) {
		for _, in := range s.inputs {
			spec := s.spec.Input(in.name)
			name := ""
			if in.v.Kind() == String {
				name = in.v.tmpl.whole()
			}
			if spec == nil || name == "" {
				continue
			}
			t := outputs[name]
			if p, ok := d.Parameter(name); ok {
				t = p.Type
			}
			if t != "" && !spec.Type.takes(t.base()) {
				c.at(in.v, Warning, "reference-type", "{{ %s }} is a %s, input %s of %s takes a %s", clip(name), t, spec.Name, s.Action, spec.Type)
			}
		}
	})
}

// takes reports whether an input of type t can be given a value of type p.
func (t InputType) takes(p ParameterType) bool {
	switch t {
	case StringInput:
		return p != TypeStringMap && p != TypeMapList // a list of one is taken as its element
	case ListInput:
		return p == TypeStringList || p == TypeString
	case IntegerInput:
		return p == TypeInteger || p == TypeString
	case BooleanInput:
		return p == TypeBoolean || p == TypeString
	case MapInput:
		return p == TypeStringMap || p == TypeString
	case MapListInput:
		return p == TypeMapList || p == TypeStringList || p == TypeString
	}
	return true
}
