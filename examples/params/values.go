package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
)

func putFlags(fs *flag.FlagSet) {
	fs.Bool("secret", false, "it is a SecureString: short for -type SecureString")
	fs.String("type", "", "String, StringList or SecureString; without it that of the parameter, String for a new one")
	fs.Bool("overwrite", false, "make a new version if the parameter is there")
	fs.Int("if-version", 0, "only if this is the newest version; 0: only if there is no parameter")
	fs.Bool("exact", false, "keep the line end at the end of what is read")
	fs.String("description", "", "what it is for")
	fs.String("pattern", "", "a regular expression that every value must match")
	fs.String("tier", "", "Standard, Advanced or Intelligent-Tiering")
	fs.String("data-type", "", "text or another that is known")
	fs.String("policies", "", "policies as a JSON array, or @FILE with it")
	fs.String("expires", "", "when it is deleted, as 2027-01-31T12:00:00Z: a policy Expiration")
	fs.Var(&pairs{}, "tag", "KEY=VALUE, as often as needed; they replace the tags that it has")
}

func (a *app) put(ctx context.Context, p *parsed) error {
	args, err := p.arg(1, "NAME", "VALUE")
	if err != nil {
		return err
	}
	req := parameter.PutRequest{PutParameterRequest: parameter.PutParameterRequest{Name: args[0], Type: parameter.Type(p.str("type")), Description: p.str("description"), Overwrite: p.on("overwrite"),
		AllowedPattern: p.str("pattern"), Tier: parameter.Tier(p.str("tier")), DataType: p.str("data-type")}}
	if p.on("secret") {
		if req.Type != "" && req.Type != parameter.SecureString {
			return bad("-secret and -type %s exclude each other", fault.Clean(string(req.Type)))
		}
		req.Type = parameter.SecureString
	}
	if p.given("if-version") {
		n := int64(p.num("if-version"))
		req.Expected = &n
	}
	for _, kv := range *p.fs.Lookup("tag").Value.(*pairs) {
		k, v, _ := strings.Cut(kv, "=")
		req.Tags, req.SetTags = append(req.Tags, parameter.Tag{Key: k, Value: v}), true
	}
	if req.Policies, err = a.policies(p); err != nil {
		return err
	}
	visible := len(args) == 2 && args[1] != "-"
	if visible && req.Type == parameter.SecureString {
		return errVisible(args[0])
	}
	return a.with(ctx, func(w *world) error {
		secret := req.Type == parameter.SecureString
		known, err := w.typeOf(req.Name)
		if err != nil {
			return err
		}
		if known != "" && req.Type == "" {
			req.Type, secret = known, known == parameter.SecureString
		}
		if req.Type == "" {
			req.Type = parameter.String
		}
		// A secret that someone takes for a String by mistake is in the shell's history already: say so before it is in the store too.
		if visible && known == parameter.SecureString {
			return errVisible(args[0])
		}
		if known != "" && !req.Overwrite && req.Expected == nil {
			return tell(parameter.CodeAlreadyExists, "%s is there already: make a new version of it with -overwrite", fault.Clean(req.Name))
		}
		if visible {
			req.Value = parameter.Text(args[1])
		} else {
			v, err := a.readValue(secret, p.on("exact"))
			if err != nil {
				return err
			}
			if req.Value = parameter.Secret(v); !secret {
				req.Value = parameter.Text(string(v.Reveal()))
			}
		}
		out, err := w.Put(w.ctx, req)
		if err != nil {
			return err
		}
		if a.wantsJSON() {
			return a.json(out)
		}
		a.say("%s version %d (%s, %s)", fault.Clean(req.Name), out.Version, req.Type, out.Tier)
		return nil
	})
}

func errVisible(name string) error {
	return bad("the value of a SecureString is not taken from the arguments, where every user of this machine and the shell's history see it (change it if it was real): leave it out to be asked, or pipe it: params put -secret %s < FILE",
		fault.Clean(name))
}

// typeOf returns the type of a parameter, "" if there is none or the name cannot be one.
func (w *world) typeOf(name string) (parameter.Type, error) {
	got, err := w.DescribeParameters(w.ctx, parameter.DescribeParametersRequest{ParameterFilters: []parameter.ParameterStringFilter{{Key: "Name", Option: "Equals", Values: []string{name}}}})
	switch {
	case fault.KindOf(err) == fault.Invalid: // Put says what is wrong with the name
		return "", nil
	case err != nil || len(got.Parameters) == 0:
		return "", err
	}
	return got.Parameters[0].Type, nil
}

// policies puts together what -policies and -expires say.
func (a *app) policies(p *parsed) (string, error) {
	text := p.str("policies")
	if file, ok := strings.CutPrefix(text, "@"); ok {
		b, err := os.ReadFile(file)
		if err != nil {
			return "", bad("-policies: %v", err)
		}
		text = string(b)
	}
	if !p.given("expires") {
		return text, nil
	}
	if text != "" {
		return "", bad("-policies and -expires exclude each other: put the Expiration into the policies")
	}
	t, err := time.Parse(time.RFC3339, p.str("expires"))
	if err != nil {
		return "", bad("-expires \"%s\" is no time: give 2027-01-31T12:00:00Z", fault.Clean(p.str("expires")))
	}
	b, err := json.Marshal([]map[string]any{{"Type": parameter.Expiration, "Version": "1.0", "Attributes": map[string]string{"Timestamp": t.UTC().Format(time.RFC3339)}}})
	return string(b), err
}

func getFlags(fs *flag.FlagSet) {
	fs.String("at", "", "as it was then: a time, or how long ago, as 90m or 7d")
	fs.Bool("n", false, "without a line end")
	fs.Bool("sealed", false, "do not open a SecureString: its ciphertext in base64")
}

// opened is a parameter whose value is given away.
type opened struct {
	parameter.Parameter
	Value string
}

func (a *app) get(ctx context.Context, p *parsed) error {
	args, err := p.arg(1, "NAME")
	if err != nil {
		return err
	}
	at, err := a.instant("at", p.str("at"))
	if err != nil {
		return err
	}
	return a.with(ctx, func(w *world) (err error) {
		var got parameter.Parameter
		if at.IsZero() {
			var out parameter.GetParameterResult
			out, err = w.GetParameter(w.ctx, parameter.GetParameterRequest{Name: args[0], WithDecryption: !p.on("sealed")})
			got = out.Parameter
		} else {
			got, err = w.GetAt(w.ctx, parameter.GetAtRequest{Name: args[0], At: at, WithDecryption: !p.on("sealed")})
		}
		if err != nil {
			return err
		}
		if a.wantsJSON() {
			return a.json(opened{got, got.Value.Reveal()})
		}
		text := got.Value.Reveal()
		if isTerminal(a.stdout) { // what would act on a terminal is shown, not done
			lines := strings.Split(text, "\n")
			for i, l := range lines {
				lines[i] = fault.Clean(l)
			}
			text = strings.Join(lines, "\n")
		}
		if !p.on("n") {
			text += "\n"
		}
		_, err = io.WriteString(a.stdout, text)
		return err
	})
}

func (a *app) label(ctx context.Context, p *parsed) error {
	if len(p.args) < 2 {
		return bad("give a name, with :VERSION if it is not the newest, and labels")
	}
	name, version, err := selected(p.args[0])
	if err != nil {
		return err
	}
	return a.with(ctx, func(w *world) error {
		out, err := w.LabelParameterVersion(w.ctx, parameter.LabelParameterVersionRequest{Name: name, ParameterVersion: version, Labels: p.args[1:]})
		if err != nil {
			return err
		}
		if a.wantsJSON() {
			err = a.json(out)
		} else if given := slices.DeleteFunc(slices.Clone(p.args[1:]), func(l string) bool { return slices.Contains(out.InvalidLabels, l) }); len(given) > 0 {
			a.say("%s version %d has %s", fault.Clean(name), out.ParameterVersion, few(given))
		}
		if len(out.InvalidLabels) > 0 {
			a.note("no labels: %s. Labels have letters, digits, dots, dashes and underlines, begin with no digit, and not with aws or ssm", few(out.InvalidLabels))
			return errors.Join(err, exit(exitRefused))
		}
		return err
	})
}

func (a *app) unlabel(ctx context.Context, p *parsed) error {
	if len(p.args) < 2 {
		return bad("give NAME:VERSION and labels")
	}
	name, version, err := selected(p.args[0])
	if err != nil {
		return err
	}
	if version == 0 {
		return bad("say of which version: %s:VERSION", fault.Clean(name))
	}
	return a.with(ctx, func(w *world) error {
		out, err := w.UnlabelParameterVersion(w.ctx, parameter.UnlabelParameterVersionRequest{Name: name, ParameterVersion: version, Labels: p.args[1:]})
		if err != nil {
			return err
		}
		if a.wantsJSON() {
			err = a.json(out)
		} else if len(out.RemovedLabels) > 0 {
			a.say("%s version %d has no longer %s", fault.Clean(name), version, few(out.RemovedLabels))
		}
		if len(out.InvalidLabels) > 0 {
			a.note("%s version %d does not have %s", fault.Clean(name), version, few(out.InvalidLabels))
			return errors.Join(err, exit(exitRefused))
		}
		return err
	})
}

// selected takes NAME:VERSION apart; 0 is no version.
func selected(s string) (name string, version int64, err error) {
	name, text, found := strings.Cut(s, ":")
	if name == "" {
		return "", 0, bad("NAME is empty")
	}
	if !found {
		return name, 0, nil
	}
	version, err = strconv.ParseInt(text, 10, 64)
	if err != nil || version < 1 {
		return "", 0, bad("\"%s\" is no version: give a number from 1, as %s:3", fault.Clean(text), fault.Clean(name))
	}
	return name, version, nil
}

func (a *app) tags(ctx context.Context, p *parsed) error {
	if len(p.args) == 0 {
		return bad("NAME is missing")
	}
	name, rest := p.args[0], p.args[1:]
	var set []parameter.Tag
	switch {
	case len(rest) == 0:
	case len(rest) == 1 || rest[0] != "set" && rest[0] != "remove":
		return bad("behind the name stands set KEY=VALUE… or remove KEY…, or nothing")
	case rest[0] == "set":
		for _, kv := range rest[1:] {
			k, v, ok := strings.Cut(kv, "=")
			if !ok || k == "" {
				return bad("\"%s\" is not KEY=VALUE", fault.Clean(kv))
			}
			set = append(set, parameter.Tag{Key: k, Value: v})
		}
	}
	return a.with(ctx, func(w *world) error {
		var err error
		switch {
		case set != nil:
			_, err = w.AddTagsToResource(w.ctx, parameter.AddTagsToResourceRequest{ResourceType: "Parameter", ResourceID: name, Tags: set})
		case len(rest) > 0:
			_, err = w.RemoveTagsFromResource(w.ctx, parameter.RemoveTagsFromResourceRequest{ResourceType: "Parameter", ResourceID: name, TagKeys: rest[1:]})
		}
		if err != nil {
			return err
		}
		out, err := w.ListTagsForResource(w.ctx, parameter.ListTagsForResourceRequest{ResourceType: "Parameter", ResourceID: name})
		if err != nil {
			return err
		}
		if a.wantsJSON() {
			return a.json(out)
		}
		t := a.table("KEY", "VALUE")
		for _, tag := range out.TagList {
			t.row(tag.Key, tag.Value)
		}
		return t.end()
	})
}

func deleteFlags(fs *flag.FlagSet) {
	fs.Bool("r", false, "all below a path; shows what would go unless -yes is given")
	fs.Bool("yes", false, "really")
}

func (a *app) delete(ctx context.Context, p *parsed) error {
	if len(p.args) == 0 {
		return bad("NAME is missing")
	}
	if p.on("r") && len(p.args) > 1 {
		return bad("-r takes one path")
	}
	return a.with(ctx, func(w *world) error {
		names := p.args
		if p.on("r") {
			list, err := w.under(p.args[0])
			if err != nil {
				return err
			}
			names = nil
			for _, m := range list {
				names = append(names, m.Name)
			}
			if len(names) == 0 {
				return tell(parameter.CodeNotFound, "there is nothing below %s", fault.Clean(p.args[0]))
			}
			if !p.on("yes") {
				for _, n := range names {
					a.say("%s", fault.Clean(n))
				}
				a.note("%s would be deleted with all versions: say it again with -yes", count(len(names), "parameter", "parameters"))
				return exit(exitRefused)
			}
		}
		var gone, missing []string
		for len(names) > 0 {
			n := min(len(names), 10)
			out, err := w.DeleteParameters(w.ctx, parameter.DeleteParametersRequest{Names: names[:n]})
			if err != nil {
				if len(gone) > 0 {
					a.note("deleted before that: %s", few(gone))
				}
				return err
			}
			gone, missing, names = append(gone, out.DeletedParameters...), append(missing, out.InvalidParameters...), names[n:]
		}
		var err error
		if a.wantsJSON() {
			err = a.json(parameter.DeleteParametersResult{DeletedParameters: gone, InvalidParameters: missing})
		}
		for _, n := range gone {
			a.say("deleted %s", fault.Clean(n))
		}
		if len(missing) > 0 {
			a.note("there is no %s", few(missing))
			return errors.Join(err, exit(exitRefused))
		}
		return err
	})
}
