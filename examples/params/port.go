package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/parameter"
)

// formatOf chooses the form of a file by the flag, else by its name.
func formatOf(flag, file string) (parameter.Format, error) {
	switch f := parameter.Format(flag); f {
	case parameter.FormatJSON, parameter.FormatYAML, parameter.FormatDotenv, parameter.FormatAWS:
		return f, nil
	case "":
	default:
		return "", bad("-format \"%s\": json, yaml, dotenv or aws", fault.Clean(flag))
	}
	switch ext := filepath.Ext(file); {
	case ext == ".yaml" || ext == ".yml":
		return parameter.FormatYAML, nil
	case ext == ".env" || filepath.Base(file) == ".env":
		return parameter.FormatDotenv, nil
	}
	return parameter.FormatJSON, nil
}

func exportFlags(fs *flag.FlagSet) {
	fs.String("format", "", "json, yaml, dotenv or aws (what the AWS CLI prints); without it by the name of the file, else json")
	fs.String("out", "", "write to this new file, which only you can read, instead of to standard output")
	fs.Bool("secrets", false, "secrets too, encrypted under a passphrase")
	fs.String("passphrase-file", "", "a file with that passphrase; else it is asked for")
}

func (a *app) export(ctx context.Context, p *parsed) error {
	args, err := p.arg(0, "PATH")
	if err != nil {
		return err
	}
	req := parameter.ExportRequest{Path: "/", Rounds: a.rounds}
	if len(args) == 1 {
		req.Path = args[0]
	}
	out := p.str("out")
	if req.Format, err = formatOf(p.str("format"), out); err != nil {
		return err
	}
	if p.given("passphrase-file") && !p.on("secrets") {
		return bad("-passphrase-file goes with -secrets")
	}
	if p.on("secrets") {
		if f := p.str("passphrase-file"); f != "" {
			req.Passphrase, err = passphraseFile(f)
		} else {
			req.Passphrase, err = a.ask("passphrase of the export", true, "-passphrase-file FILE")
		}
		if err != nil {
			return err
		}
	}
	return a.with(ctx, func(w *world) error {
		got, err := w.Export(w.ctx, req)
		if err != nil {
			return err
		}
		if out == "" {
			_, err = a.stdout.Write(got.Data)
		} else {
			err = writeNew(out, got.Data)
		}
		if err != nil {
			return err
		}
		if out != "" {
			a.note("%s written to %s", count(got.Count, "parameter", "parameters"), out)
		}
		if len(got.LeftOut) > 0 {
			a.note("left out for being secret: %s (-secrets writes them, encrypted)", few(got.LeftOut))
		}
		return nil
	})
}

// writeNew writes a file that was not there.
func writeNew(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return tell(fault.Validation, "the export was not written: %v", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			os.Remove(path) //nolint:errcheck // half an export is none; the first error is told
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

func importFlags(fs *flag.FlagSet) {
	fs.String("format", "", "json, yaml, dotenv or aws; without it by the name of the file, else json")
	fs.String("path", "", "where the names of a dotenv file go")
	fs.Bool("overwrite", false, "make new versions of what is there")
	fs.Bool("dry-run", false, "check the file and write nothing")
	fs.String("passphrase-file", "", "a file with the passphrase of the export's secrets; else it is asked for when there are any")
}

func (a *app) importFile(ctx context.Context, p *parsed) error {
	args, err := p.arg(1, "FILE")
	if err != nil {
		return err
	}
	req := parameter.ImportRequest{Path: p.str("path"), Overwrite: p.on("overwrite"), DryRun: p.on("dry-run")}
	if req.Format, err = formatOf(p.str("format"), args[0]); err != nil {
		return err
	}
	in := a.stdin
	if args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return tell(fault.Validation, "the file cannot be read: %v", err)
		}
		defer f.Close() //nolint:errcheck // it was read only
		in = f
	}
	data, err := readAll(in, 64<<20, true, "the file")
	if err != nil {
		return err
	}
	req.Data = data.Reveal()
	if f := p.str("passphrase-file"); f != "" {
		req.Passphrase, err = passphraseFile(f)
	} else if strings.Contains(string(req.Data), "fwsecret1") {
		req.Passphrase, err = a.ask("passphrase of the export", false, "-passphrase-file FILE")
	}
	if err != nil {
		return err
	}
	return a.with(ctx, func(w *world) error {
		got, err := w.Import(w.ctx, req)
		if err != nil {
			if len(got.Names) > 0 {
				a.note("written before that: %s", few(got.Names))
			}
			return err
		}
		if a.wantsJSON() {
			return a.json(map[string]any{"Names": got.Names, "DryRun": req.DryRun})
		}
		for _, n := range got.Names {
			io.WriteString(a.stdout, fault.Clean(n)+"\n") //nolint:errcheck // the summary tells
		}
		if req.DryRun {
			a.note("%s would be written", count(len(got.Names), "parameter", "parameters"))
			return nil
		}
		a.note("%s written", count(len(got.Names), "parameter", "parameters"))
		return nil
	})
}
