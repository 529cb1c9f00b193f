package target

// Wave is one batch of a Plan: the nodes First to First+Size-1 of the resolved list.
type Wave struct {
	First int // index of its first node, from 0
	Size  int
	Worst int // the most errors there can be when this wave ended, if the error limit held until it began
}

// Plan cuts n nodes into waves, as they go when every node of a wave acknowledges and ends before the next wave: real runs fill freed places one by one, but
// never put more nodes to work at once than the plan's widest wave. The last wave's Worst is never over WorstErrors.
func Plan(n int, concurrency, errors Rate, rampUp bool) []Wave {
	if n <= 0 {
		return nil
	}
	c, l := concurrency.Concurrency(n), errors.ErrorLimit(n)
	r := NoRamp(c)
	if rampUp {
		r = NewRamp(c)
	}
	waves := make([]Wave, 0, min(n, n/c+16))
	for first := 0; first < n; {
		size := min(r.Allow(0), n-first)
		waves = append(waves, Wave{First: first, Size: size, Worst: min(first, l) + size})
		r = r.Start(size).Ack(size)
		first += size
	}
	return waves
}

// WorstErrors is the largest number of errors that n nodes can end with: the limit L may be reached just when C nodes are at work, and those are allowed to
// finish (R15). With a concurrency of 1 it is L+1.
func WorstErrors(n int, concurrency, errors Rate) int {
	return min(max(0, n), errors.ErrorLimit(n)+concurrency.Concurrency(n))
}
