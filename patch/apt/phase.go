package apt

// excluded reports whether the machine's turn has not come for a version that is rolled out in phases.
func (pol *Policy) excluded(p *Package) bool {
	switch {
	case p.Phased >= 100, pol.AlwaysPhased:
		return false
	case pol.NeverPhased:
		return true
	case pol.MachineID == "":
		return false
	}
	return phase(p.Source+"-"+p.SourceVersion+"-"+pol.MachineID) > p.Phased
}

// phase returns the place of a machine in the rollout of a version, 0 to 100, as apt_preferences(5) has it. apt draws it from the C++
// standard library: std::minstd_rand seeded by a std::seed_seq over the bytes, and a std::uniform_int_distribution over [0, 100] as
// libstdc++ draws it. The three are fixed by ISO C++ 26.6 and by all the machines that follow them.
func phase(seed string) int {
	const m, a = 2147483647, 48271
	x := uint64(seedSequence(seed)[3]) % m
	if x == 0 {
		x = 1
	}
	const span = m - 2 // draws are 1 … m-1
	const scale = span / 101
	for {
		x = x * a % m
		if d := x - 1; d < 101*scale {
			return int(d / scale)
		}
	}
}

// seedSequence is seed_seq::generate for four words.
func seedSequence(seed string) [4]uint32 {
	const n = 4
	b := [n]uint32{0x8b8b8b8b, 0x8b8b8b8b, 0x8b8b8b8b, 0x8b8b8b8b}
	s := len(seed)
	const t = (n - 1) / 2
	const p = (n - t) / 2
	const q = p + t
	m := max(s+1, n)
	mix := func(x uint32) uint32 { return x ^ x>>27 }
	for k := range m {
		r := 1664525 * mix(b[k%n]^b[(k+p)%n]^b[(k+n-1)%n])
		add := uint32(k % n)
		switch {
		case k == 0:
			add = uint32(s)
		case k <= s:
			add += uint32(int32(int8(seed[k-1]))) // char is signed on the machines that matter
		}
		b[(k+p)%n] += r
		b[(k+q)%n] += r + add
		b[k%n] = r + add
	}
	for k := m; k < m+n; k++ {
		r := 1566083941 * mix(b[k%n]+b[(k+p)%n]+b[(k+n-1)%n])
		sub := r - uint32(k%n)
		b[(k+p)%n] ^= r
		b[(k+q)%n] ^= sub
		b[k%n] = sub
	}
	return b
}
