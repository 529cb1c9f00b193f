package automation

// OfForm makes a control plane one of a release that writes and understands records of that form.
func OfForm(c *Config, form int) { c.form = form }
