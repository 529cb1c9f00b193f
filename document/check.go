package document

// Check returns everything that could be better: warnings and advice. A document that was parsed has no findings of severity Error.
func (d *Document) Check() Findings {
	c := &collector{file: d.File, root: d.Root}
	c.list = append(c.list, d.notes...)
	return c.sorted()
}

func (c *collector) refuseRaw(b *Bound) {}
