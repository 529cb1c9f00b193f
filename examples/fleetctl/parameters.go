package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
	"github.com/fleetwright/fleetwright/secret"
	"github.com/fleetwright/fleetwright/ssmops"
)

func parameterVerbs() []verb {
	return []verb{
		{name: "list", args: "[PATH]", summary: "list parameters, those below a path", flags: parameterListFlags, run: (*app).listParameters},
		{name: "get", args: "NAME…", summary: "read values; NAME may be NAME:VERSION or NAME:LABEL", flags: parameterGetFlags, run: (*app).getParameters},
		{name: "put", args: "NAME", summary: "store the value that comes from standard input", flags: parameterPutFlags, run: (*app).putParameter},
		{name: "history", args: "NAME", summary: "list versions, the oldest first", flags: decryptFlag, run: (*app).parameterHistory},
		{name: "delete", args: "NAME…", summary: "delete parameters with their history", run: (*app).deleteParameters},
		{name: "label", args: "NAME LABEL…", summary: "attach labels to a version", flags: labelFlags, run: (*app).labelParameter},
		{name: "unlabel", args: "NAME LABEL…", summary: "take labels from a version", flags: labelFlags, run: (*app).unlabelParameter},
	}
}

func decryptFlag(fs *flag.FlagSet) {
	fs.Bool("decrypt", false, "show the values of SecureStrings")
}

func parameterListFlags(fs *flag.FlagSet) {
	decryptFlag(fs)
	fs.Bool("values", false, "with their values; a PATH is needed")
	fs.Bool("flat", false, "only one level below the path")
	fs.String("type", "", "only this `type`: String, StringList or SecureString")
	fs.String("tag", "", "only parameters with this tag: `NAME=VALUE`, or NAME for any value")
}

func parameterGetFlags(fs *flag.FlagSet) {
	decryptFlag(fs)
	fs.Bool("value", false, "print the value alone, as it is; for one NAME")
}

func parameterPutFlags(fs *flag.FlagSet) {
	fs.String("type", "", "String, StringList or SecureString (default String; an overwrite keeps the `type`)")
	fs.Bool("overwrite", false, "make a new version of a parameter that is there")
	fs.Bool("keep-newline", false, "a newline at the end belongs to the value")
	fs.String("description", "", "for people")
	fs.String("key-id", "", "`key` of a SecureString (default the key service's primary one)")
	fs.String("tier", "", "Standard, Advanced or Intelligent-Tiering")
	fs.String("data-type", "", "`type` of the data: text, aws:ec2:image …")
	fs.String("allowed-pattern", "", "regular `expression` that values must match")
	fs.String("policies", "", "JSON `array` of parameter policies")
	fs.String("tags", "", "as `Team=web,Env=prod`; for a new parameter")
}

func labelFlags(fs *flag.FlagSet) {
	fs.Int("version", 0, "`number` of the version (default the latest)")
}

// shown is a value in a table: that of a SecureString only if it was decrypted.
func shown(t parameter.Type, v parameter.Value, decrypted bool) string {
	if t == parameter.SecureString && !decrypted {
		return secret.Mask
	}
	return v.Reveal()
}

func (a *app) listParameters(ctx context.Context, p *parsed) error {
	path := ""
	if len(p.args) > 0 {
		args, err := p.arg("PATH")
		if err != nil {
			return err
		}
		if path = args[0]; !strings.HasPrefix(path, "/") {
			return bad("PATH %q must begin with /", fault.Clean(path))
		}
	} else if _, err := p.arg(); err != nil {
		return err
	}
	var filters []parameter.ParameterStringFilter
	if s := p.str("type"); s != "" {
		filters = append(filters, parameter.ParameterStringFilter{Key: "Type", Option: "Equals", Values: []string{s}})
	}
	if p.on("values") {
		return a.listValues(ctx, p, path, filters)
	}
	if p.on("decrypt") {
		return bad("-decrypt: values are shown with -values only")
	}
	if t := p.str("tag"); t != "" {
		k, v, ok := strings.Cut(t, "=")
		f := parameter.ParameterStringFilter{Key: "tag:" + k}
		if ok {
			f.Values = []string{v}
		}
		filters = append(filters, f)
	}
	if path != "" {
		f := parameter.ParameterStringFilter{Key: "Path", Option: "Recursive", Values: []string{path}}
		if p.on("flat") {
			f.Option = "OneLevel"
		}
		filters = append(filters, f)
	}
	all, err := pages(0, func(token string) ([]parameter.ParameterMetadata, string, error) {
		var out parameter.DescribeParametersResult
		err := a.call(ctx, "DescribeParameters", parameter.DescribeParametersRequest{ParameterFilters: filters, NextToken: token}, &out)
		return out.Parameters, out.NextToken, err
	})
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(parameter.DescribeParametersResult{Parameters: all})
	}
	t := a.table("NAME", "TYPE", "VERSION", "TIER", "MODIFIED", "BY", "DESCRIPTION")
	for _, m := range all {
		t.row(m.Name, m.Type, m.Version, m.Tier, m.LastModifiedDate, m.LastModifiedUser, short(m.Description, 40))
	}
	return t.end()
}

func (a *app) listValues(ctx context.Context, p *parsed, path string, filters []parameter.ParameterStringFilter) error {
	if path == "" {
		return bad("PATH is missing: -values reads what is below a path; / is all")
	}
	if p.str("tag") != "" {
		return bad("-tag and -values do not go together")
	}
	r := parameter.GetParametersByPathRequest{Path: path, Recursive: !p.on("flat"), ParameterFilters: filters, WithDecryption: p.on("decrypt")}
	all, err := pages(0, func(token string) ([]parameter.Parameter, string, error) {
		var out parameter.GetParametersByPathResult
		r.NextToken = token
		err := a.call(ctx, "GetParametersByPath", r, &out)
		return out.Parameters, out.NextToken, err
	})
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(parameter.GetParametersByPathResult{Parameters: all})
	}
	return a.values(all, p.on("decrypt"), 80)
}

// values prints the table of parameters, values cut to most letters; 0 cuts none.
func (a *app) values(all []parameter.Parameter, decrypted bool, most int) error {
	t := a.table("NAME", "TYPE", "VERSION", "MODIFIED", "VALUE")
	for _, v := range all {
		text := shown(v.Type, v.Value, decrypted)
		if most > 0 {
			text = short(text, most)
		}
		t.row(v.Name+v.Selector, v.Type, v.Version, v.LastModifiedDate, text)
	}
	return t.end()
}

func (a *app) getParameters(ctx context.Context, p *parsed) error {
	switch {
	case p.rest != nil:
		return bad("nothing is expected behind --")
	case len(p.args) == 0:
		return bad("NAME is missing")
	case p.on("value") && len(p.args) > 1:
		return bad("-value: it is for one NAME")
	case p.on("value") && a.wantsJSON():
		return bad("-value and -o json: give one of them")
	}
	decrypt := p.on("decrypt")
	if len(p.args) > 1 {
		return a.getSeveral(ctx, p.args, decrypt)
	}
	var out parameter.GetParameterResult
	if err := a.call(ctx, "GetParameter", parameter.GetParameterRequest{Name: p.args[0], WithDecryption: decrypt}, &out); err != nil {
		return err
	}
	v := out.Parameter
	switch {
	case a.wantsJSON():
		return a.json(out)
	case !p.on("value"):
		return a.values([]parameter.Parameter{v}, decrypt, 0)
	case v.Type == parameter.SecureString && !decrypt:
		return bad("%s is a SecureString: its value is shown with -decrypt only", fault.Clean(v.Name))
	}
	var to io.Writer = a.stdout
	if isTerminal(a.stdout) {
		to = printable{a.stdout}
	}
	_, err := io.WriteString(to, v.Value.Reveal()+"\n")
	return err
}

// getSeveral reads 10 at a time, as AWS has it. Names that are not there are told, and make it fail.
func (a *app) getSeveral(ctx context.Context, names []string, decrypt bool) error {
	all := parameter.GetParametersResult{Parameters: []parameter.Parameter{}, InvalidParameters: []string{}}
	for len(names) > 0 {
		some := names[:min(10, len(names))]
		names = names[len(some):]
		var out parameter.GetParametersResult
		if err := a.call(ctx, "GetParameters", parameter.GetParametersRequest{Names: some, WithDecryption: decrypt}, &out); err != nil {
			return err
		}
		all.Parameters = append(all.Parameters, out.Parameters...)
		all.InvalidParameters = append(all.InvalidParameters, out.InvalidParameters...)
	}
	var err error
	if a.wantsJSON() {
		err = a.json(all)
	} else {
		err = a.values(all.Parameters, decrypt, 0)
	}
	if err != nil {
		return err
	}
	return missing(all.InvalidParameters)
}

// missing is the error of names that are not there.
func missing(names []string) error {
	if len(names) == 0 {
		return nil
	}
	return fault.New("fleetctl", parameter.CodeNotFound, "not there: %s", fault.Clean(strings.Join(names, ", ")))
}

// shows reports whether what is typed there is shown: it is a terminal.
func shows(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok || !isTerminal(f) {
		return false
	}
	st, err := f.Stat()
	null, nerr := os.Stat(os.DevNull)
	return err != nil || nerr != nil || !os.SameFile(st, null)
}

// putParameter stores a value. It comes from standard input alone: the command line can be read by everybody on the machine.
func (a *app) putParameter(ctx context.Context, p *parsed) error {
	args, err := p.arg("NAME")
	if err != nil {
		return err
	}
	tags, err := pairs("-tags", p.str("tags"))
	if err != nil {
		return err
	}
	r := parameter.PutParameterRequest{Name: args[0], Type: parameter.Type(p.str("type")), Overwrite: p.on("overwrite"), Description: p.str("description"), KeyID: p.str("key-id"),
		Tier: parameter.Tier(p.str("tier")), DataType: p.str("data-type"), AllowedPattern: p.str("allowed-pattern"), Policies: p.str("policies")}
	if r.Type == "" && !r.Overwrite {
		r.Type = parameter.String
	}
	for _, t := range tagList(tags) {
		r.Tags = append(r.Tags, parameter.Tag(t))
	}
	if shows(a.stdin) {
		return bad("the value comes from standard input, which would show it on this terminal: pipe it, as fleetctl parameters put NAME < FILE")
	}
	b, err := io.ReadAll(io.LimitReader(a.stdin, ssmops.MaxRequest))
	if err != nil {
		return fmt.Errorf("standard input: %w", err)
	}
	defer clear(b)
	if !p.on("keep-newline") {
		b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	}
	if len(b) == 0 {
		return bad("the value is missing: it comes from standard input")
	}
	r.Value = parameter.Secret(secret.New(b))
	var out parameter.PutParameterResult
	if err := a.call(ctx, "PutParameter", r, &out); err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(out)
	}
	return a.say("%s version %d, tier %s", fault.Clean(args[0]), out.Version, fault.Clean(string(out.Tier)))
}

func (a *app) parameterHistory(ctx context.Context, p *parsed) error {
	args, err := p.arg("NAME")
	if err != nil {
		return err
	}
	decrypt := p.on("decrypt")
	all, err := pages(0, func(token string) ([]parameter.ParameterHistory, string, error) {
		var out parameter.GetParameterHistoryResult
		err := a.call(ctx, "GetParameterHistory", parameter.GetParameterHistoryRequest{Name: args[0], WithDecryption: decrypt, NextToken: token}, &out)
		return out.Parameters, out.NextToken, err
	})
	if err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(parameter.GetParameterHistoryResult{Parameters: all})
	}
	t := a.table("VERSION", "TYPE", "MODIFIED", "BY", "LABELS", "VALUE")
	for _, h := range all {
		t.row(h.Version, h.Type, h.LastModifiedDate, h.LastModifiedUser, strings.Join(h.Labels, ","), short(shown(h.Type, h.Value, decrypt), 80))
	}
	return t.end()
}

func (a *app) deleteParameters(ctx context.Context, p *parsed) error {
	switch {
	case p.rest != nil:
		return bad("nothing is expected behind --")
	case len(p.args) == 0:
		return bad("NAME is missing")
	case len(p.args) == 1:
		return a.call(ctx, "DeleteParameter", parameter.DeleteParameterRequest{Name: p.args[0]}, nil)
	}
	var absent []string
	for names := p.args; len(names) > 0; {
		some := names[:min(10, len(names))]
		names = names[len(some):]
		var out parameter.DeleteParametersResult
		if err := a.call(ctx, "DeleteParameters", parameter.DeleteParametersRequest{Names: some}, &out); err != nil {
			return err
		}
		absent = append(absent, out.InvalidParameters...)
	}
	return missing(absent)
}

// labels reads NAME LABEL….
func labels(p *parsed) (name string, labels []string, version int64, err error) {
	switch v := p.num("version"); {
	case p.rest != nil:
		return "", nil, 0, bad("nothing is expected behind --")
	case len(p.args) < 2:
		return "", nil, 0, bad("NAME and LABEL are needed")
	case v < 0:
		return "", nil, 0, bad("-version %d is negative", v)
	default:
		return p.args[0], p.args[1:], int64(v), nil
	}
}

func (a *app) labelParameter(ctx context.Context, p *parsed) error {
	name, list, version, err := labels(p)
	if err != nil {
		return err
	}
	var out parameter.LabelParameterVersionResult
	if err := a.call(ctx, "LabelParameterVersion", parameter.LabelParameterVersionRequest{Name: name, ParameterVersion: version, Labels: list}, &out); err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(out)
	}
	if len(out.InvalidLabels) > 0 {
		return fault.New("fleetctl", fault.Validation, "not attached, for they are no labels: %s", fault.Clean(strings.Join(out.InvalidLabels, ", ")))
	}
	return a.say("%s version %d", fault.Clean(name), out.ParameterVersion)
}

func (a *app) unlabelParameter(ctx context.Context, p *parsed) error {
	name, list, version, err := labels(p)
	if err != nil {
		return err
	}
	if version == 0 {
		return bad("-version is missing: labels are taken from which version?")
	}
	var out parameter.UnlabelParameterVersionResult
	if err := a.call(ctx, "UnlabelParameterVersion", parameter.UnlabelParameterVersionRequest{Name: name, ParameterVersion: version, Labels: list}, &out); err != nil {
		return err
	}
	if a.wantsJSON() {
		return a.json(out)
	}
	if len(out.InvalidLabels) > 0 {
		return fault.New("fleetctl", fault.Validation, "the version does not have: %s", fault.Clean(strings.Join(out.InvalidLabels, ", ")))
	}
	return nil
}
