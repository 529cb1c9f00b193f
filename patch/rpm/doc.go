// Package rpm reads what describes the packages of an RPM machine: the metadata of repositories (repomd, primary, updateinfo), what
// "rpm -qa" prints in a format that the package defines, .repo files, and the XML of zypper. It makes of them the installed and available
// packages, with the update notices that list them, that patch.Evaluate takes.
//
// The package only reads what it is handed, an [io.Reader] or an [io/fs.FS]; it starts no process and opens no file:
//
//	repo, err := rpm.ReadRepo(fsys, nil)                       // a folder with repodata/
//	installed, err := rpm.ReadInstalled("rpm -qa", output)     // of rpm -qa --qf QueryFormat
//	available := rpm.Available(installed, repo)
//
// Everything is bounded by [Limits], documents with a DTD are refused, checksums and sizes are held against repomd.xml, and repomd.xml
// against its signature where a [Verifier] is given. An error names file and line, and comes with no half-read result.
package rpm
