// Package apt reads what apt and dpkg keep on a Debian or Ubuntu machine, and decides from it what apt would decide: which
// version of an installed package is the candidate, from which archives it comes, and whether one of them is a security archive.
//
// The package only reads what it is handed, an [io.Reader] or an [io/fs.FS]; it starts no process and opens no file. The whole way is
//
//	host, err := apt.ReadHost(os.DirFS("/"), nil)         // sources, lists, preferences, dpkg status
//	installed, available := host.Installed(), host.Available()
//	result := patch.Evaluate(…)
//
// and the parts are usable alone: [Scanner] reads deb822 stanzas without copying, [Decompress] takes gz, xz, zstd, lz4 and bz2 under a
// bound, [ParseRelease] and [OpenInRelease] read and verify a Release file and [Release.Check] holds an index against it, [ReadPackages]
// and [ReadStatus] read indexes and the status file, [ParseSources], [ParseDeb822Sources] and [ParsePreferences] the configuration.
//
// Everything is bounded by [Limits]: a line, a stanza or a file that is longer than they allow is an error that names file and line,
// whatever the compression claimed. Input of the wrong shape gives such an error too, and no half-read result.
package apt
