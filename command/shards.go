package command

// Owned returns the numbers of the Shards that this control plane owns at present, as far as it knows, in ascending order: for an operator's screen. What a number says
// may have changed when it is read.
func (s *Service) Owned() []int {
	out := []int{}
	for _, sh := range s.mine() {
		out = append(out, int(sh.n))
	}
	return out
}
