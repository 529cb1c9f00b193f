package rpm

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/fleetwright/fleetwright/fault"
	"github.com/fleetwright/fleetwright/patch/internal/packed"
	"github.com/fleetwright/fleetwright/patch/internal/signed"
)

// A Verifier says whether signature, detached and armoured or not, is one over signed by a trusted key. It returns the text that the
// signature covers, which is signed, and the fingerprints or key ids of the keys, at least one; otherwise an error. Many goroutines may use it.
// [Keyring] makes one of OpenPGP keys.
type Verifier interface {
	Verify(signed, signature []byte) (text []byte, signers []string, err error)
}

// Keyring returns a Verifier that knows the keys of the given OpenPGP keyrings (RPM-GPG-KEY files), binary or armoured. now is when
// signatures and keys must be valid; nil is time.Now. A keyring that cannot be read, or holds no key, is an error.
func Keyring(now func() time.Time, rings ...io.Reader) (Verifier, error) {
	k, err := signed.Keyring("rpm.Keyring", now, rings...)
	if err != nil {
		return nil, err
	}
	return k, nil
}

// RepoOptions say how ReadRepo reads. The zero value reads everything, without looking at signatures.
type RepoOptions struct {
	ID       string // of the repository, for Available.Repo
	Priority int    // of the .repo file; 0 stands for 99, a lower number goes first

	// Keep names the packages that matter; nil keeps all. Keeping what is installed makes a large repository cheap to read.
	Keep func(name []byte) bool

	// Verifier verifies repodata/repomd.xml.asc (repo_gpgcheck); nil does not look for it. A Verifier and no signature is an error.
	Verifier Verifier

	Limits *Limits
}

// Repo is the metadata of one repository.
type Repo struct {
	ID            string
	Priority      int // never 0
	Repomd        *Repomd
	Packages      []Package
	Notices       []Notice
	HasUpdateinfo bool     // the repository has notices at all (N3)
	Signers       []string // of repomd.xml; empty when no signature was looked at
}

// ReadRepo reads the metadata of a repository from fsys, in which repodata/ lies: repomd.xml, the primary file, and updateinfo where
// there is one. Each file is held against the size and checksum of repomd.xml.
func ReadRepo(fsys fs.FS, o *RepoOptions) (*Repo, error) {
	const op = "rpm.ReadRepo"
	if o == nil {
		o = &RepoOptions{}
	}
	repo := &Repo{ID: o.ID, Priority: o.Priority}
	if repo.Priority == 0 {
		repo.Priority = 99
	}
	const name = "repodata/repomd.xml"
	text, err := readSmall(op, fsys, name)
	if err != nil {
		return nil, err
	}
	if o.Verifier != nil {
		sig, err := readSmall(op, fsys, name+".asc")
		if err != nil {
			return nil, err
		}
		// what is not nil is detached, an empty file too
		if text, repo.Signers, err = o.Verifier.Verify(text, append(sig, '\n')); err == nil && len(repo.Signers) == 0 {
			err = errors.New("no signature of a known key")
		}
		if err != nil {
			e := fault.New(op, fault.AccessDenied, "%s: the signature is not that of a trusted key", name)
			e.Err = err
			return nil, e
		}
	}
	if repo.Repomd, err = ReadRepomd(name, bytes.NewReader(text), o.Limits); err != nil {
		return nil, err
	}
	primary, ok := repo.Repomd.Find("primary")
	if !ok {
		return nil, bad(op, name, 0, "names no primary file")
	}
	err = readData(op, fsys, &primary, o, func(file string, r io.Reader) error {
		return ReadPrimary(file, r, o.Keep, func(p Package) error {
			repo.Packages = append(repo.Packages, p)
			return nil
		}, o.Limits)
	})
	if err != nil {
		return nil, err
	}
	info, ok := repo.Repomd.Find("updateinfo")
	if !ok {
		return repo, nil
	}
	repo.HasUpdateinfo = true
	keep := o.Keep
	if keep != nil { // what takes the place of a kept package is kept too, so its notices are
		more := map[string]bool{}
		for i := range repo.Packages {
			more[repo.Packages[i].Name] = true
		}
		keep = func(name []byte) bool { return more[string(name)] || o.Keep(name) }
	}
	err = readData(op, fsys, &info, o, func(file string, r io.Reader) (err error) {
		repo.Notices, err = ReadUpdateinfo(file, r, keep, o.Limits)
		return err
	})
	if err != nil {
		return nil, err
	}
	return repo, nil
}

func readSmall(op string, fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		e := fault.New(op, fault.Validation, "%s cannot be opened", name)
		e.Err = err
		return nil, e
	}
	defer f.Close()
	const most = 16 << 20
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, wrap(op, name, 0, err)
	}
	if len(b) > most {
		return nil, tooBig(op, name, 0, "is longer than %d bytes", most)
	}
	return b, nil
}

// readData opens a file of the repository, checked and decompressed, and hands it to read. A decompressor may stop before the last
// stored byte, so that the rest is read for the checksum.
func readData(op string, fsys fs.FS, d *Data, o *RepoOptions, read func(file string, r io.Reader) error) error {
	name := path.Clean(d.Location)
	f, err := fsys.Open(name)
	if err != nil {
		e := fault.New(op, fault.Validation, "%s cannot be opened", fault.Clean(name))
		e.Err = err
		return e
	}
	defer f.Close()
	l := o.Limits.orDefault()
	if d.OpenSize >= 0 {
		l.Total = min(l.Total, d.OpenSize)
	}
	in := d.check(name, f)
	z, err := packed.Open(op, name, in, l.Total, l.Window)
	if err != nil {
		return err
	}
	defer z.Close()
	if err := read(name, z); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	return nil
}
