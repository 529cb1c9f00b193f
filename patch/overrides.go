package patch

// BaselineOverrides are the baselines of a BaselineOverride: for one run they take the place of the registered ones (B5).
type BaselineOverrides []Baseline

// For returns the entry for an operating system, nil when there is none: then nothing is overridden.
func (o BaselineOverrides) For(os OperatingSystem) *Baseline {
	for i := range o {
		if o[i].System() == os {
			return &o[i]
		}
	}
	return nil
}
