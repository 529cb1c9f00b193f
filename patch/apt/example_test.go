package apt_test

import (
	"fmt"
	"strings"
	"testing/fstest"

	"github.com/fleetwright/fleetwright/patch/apt"
)

// A machine is read from the root of its file system; os.DirFS("/") is that of the machine itself.
func ExampleReadHost() {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	root := fstest.MapFS{
		"etc/apt/sources.list": file("deb http://security.example.org/debian-security trixie-security main\n"),
		"var/lib/dpkg/status": file("Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.22\n\n" +
			"Package: openssl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.5.1-1\n"),
		"var/lib/apt/lists/security.example.org_debian-security_dists_trixie-security_InRelease": file(
			"Origin: Debian\nLabel: Debian-Security\nSuite: stable-security\nCodename: trixie-security\n"),
		"var/lib/apt/lists/security.example.org_debian-security_dists_trixie-security_main_binary-amd64_Packages": file(
			"Package: openssl\nVersion: 3.5.1-1+deb13u1\nArchitecture: amd64\n"),
	}
	host, err := apt.ReadHost(root, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range host.Decisions {
		if d := &host.Decisions[i]; d.Upgradable() {
			fmt.Println(d.Name, d.Installed.Version, "->", d.Candidate.Version, "security:", d.Candidate.Security())
		}
	}
	// Output: openssl 3.5.1-1 -> 3.5.1-1+deb13u1 security: true
}

// A Scanner reads any deb822 file without copying it.
func ExampleScanner() {
	s := apt.NewScanner("Packages", strings.NewReader("Package: a\nVersion: 1\n\nPackage: b\nVersion: 2\n"), nil)
	for s.Scan() {
		v, err := s.Field("version")
		fmt.Printf("%s %s line %d %v\n", s.Name(), v, s.Line(), err)
	}
	fmt.Println(s.Err())
	// Output:
	// a 1 line 1 <nil>
	// b 2 line 4 <nil>
	// <nil>
}

// An error says in which file and line the trouble is.
func ExampleParsePreferences() {
	_, err := apt.ParsePreferences("/etc/apt/preferences", strings.NewReader("Package: perl\nPin: version 5.40*\nPin-Priority: high\n"), nil)
	fmt.Println(err)
	// Output: apt.ParsePreferences: ValidationException: /etc/apt/preferences:3: Pin-Priority must be a number from -32768 to 32767, or "never"
}
