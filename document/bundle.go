package document

// Manifest is a Package document: which archive is for which platform, release and architecture.
type Manifest struct {
	Version   string
	Publisher string
	Name      string
	Packages  []PackageFile // in the order of the text
}

// PackageFile says which archive a node takes. "_any" stands for every release or architecture.
type PackageFile struct {
	Platform, Release, Arch string
	File                    string
	Source                  *Value
}

// manifest reads a Package document (manifest 2.0).
func (c *collector) manifest(d *Document) {
	m := &Manifest{}
	d.Package = m
	for i := range d.Root.fields {
		f := &d.Root.fields[i]
		switch f.Key {
		case "schemaVersion", "packageArn", "url", "$schema", "assumeRole":
		case "description":
			d.Description = c.text(f)
		case "version":
			m.Version = c.text(f)
		case "publisher":
			m.Publisher = c.text(f)
		case "name":
			m.Name = c.text(f)
		case "files":
			d.Files = c.files(f.Value)
		case "packages":
			c.packages(m, f)
		default:
			c.unknownKey(d.Root, f, "top-key", "a Package document", packageKeys)
		}
	}
	if m.Version == "" {
		c.at(d.Root, Error, "package-version", "the package has no version")
	}
	if d.Root.Get("files") == nil {
		c.at(d.Root, Error, "package-files", "the package has no files: name each archive with its checksums")
	}
	for _, p := range m.Packages {
		known := false
		for _, f := range d.Files {
			known = known || f.Name == p.File
		}
		if !known {
			c.at(p.Source, Error, "package-file", "file %q is not among files", clip(p.File))
		}
	}
}

func (c *collector) packages(m *Manifest, f *Field) {
	platforms := c.mapping(f)
	for i := range platforms.Fields() {
		p := &platforms.fields[i]
		releases := c.mapping(p)
		for j := range releases.Fields() {
			r := &releases.fields[j]
			archs := c.mapping(r)
			for k := range archs.Fields() {
				a := &archs.fields[k]
				file := a.Value.Get("file")
				if file.Kind() != String {
					c.key(a, Error, "package-file", "%s %s %s names no file", clip(p.Key), clip(r.Key), clip(a.Key))
					continue
				}
				m.Packages = append(m.Packages, PackageFile{Platform: p.Key, Release: r.Key, Arch: a.Key, File: file.text, Source: file})
			}
		}
	}
}

// bundle reads the template kinds: a body that another service understands.
func (c *collector) bundle(d *Document) {
	body := map[Kind]string{CloudFormation: "templateBody", ConformancePackTemplate: "templateBody", QuickSetup: "deploymentConfig", ProblemAnalysisTemplate: "sections"}[d.Kind]
	if f := d.Root.Get("description"); f.Kind() == String {
		d.Description = f.text
	}
	if d.Body = d.Root.Get(body); d.Body.Kind() == Null {
		c.at(d.Root, Error, "no-body", "a %s document needs %s", d.Kind, body)
	}
}

// changeTemplate reads an Automation.ChangeTemplate: steps of approval, and which runbooks a change may run.
func (c *collector) changeTemplate(d *Document) {
	var steps *Value
	for i := range d.Root.fields {
		f := &d.Root.fields[i]
		switch f.Key {
		case "schemaVersion", "$schema", "emergencyChange", "autoApprovable", "templateInformation", "executableRunBooks", "assumeRole":
		case "description":
			d.Description = c.text(f)
		case "parameters":
			c.parameters(d, f.Value)
		case "mainSteps":
			steps = f.Value
		default:
			c.key(f, Error, "top-key", "unknown key %q in a change template", clip(f.Key))
		}
	}
	if steps == nil {
		return // an auto-approvable change needs no approval
	}
	if c.stepList(steps, d.Root) {
		d.Steps = c.runbookSteps(d, steps, "")
		c.uniqueSteps(d)
	}
}
