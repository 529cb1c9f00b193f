package inventory

// Limits bound what a node may report and what a tenant may define. A field that is 0 is AWS's value; a negative one is no limit.
type Limits struct {
	Items       int // items of a report: 30 (IN2)
	Entries     int // entries of an item: 10,000 (IN2)
	Attributes  int // attributes of an entry, and of a custom type: 50 (IN2)
	NameBytes   int // of an attribute's name: 64 (IN2)
	ValueBytes  int // of a value: 4,096 (IN2)
	TypeBytes   int // of a type's name: 100 (IN2)
	ItemBytes   int // JSON of an item's content: 3,072 KB (V9)
	TotalBytes  int // JSON of all contents of a report: 10,240 KB (V9)
	CustomTypes int // of a tenant, and of a node's folder: 20 (IN2, V8)
	Files       int // of AWS:File: 500 (V7, IN4)
	Directories int // that one filter of AWS:File scans unless it says otherwise: 5,000 (V7)
	Registry    int // values of AWS:WindowsRegistry: 250 (V13)

	Filters     int // of a query: 5 (IN5)
	Values      int // of a filter: 40 (IN5)
	Aggregators int // of one level: 10 (IN5)
	Depth       int // of nested aggregators: 3; AWS states none
	Groups      int // of an aggregator: 15 (IN5)
}

// AWS returns AWS's limits.
func AWS() Limits {
	return Limits{Items: 30, Entries: 10_000, Attributes: 50, NameBytes: 64, ValueBytes: 4096, TypeBytes: 100, ItemBytes: 3072 << 10, TotalBytes: 10240 << 10, CustomTypes: 20,
		Files: 500, Directories: 5000, Registry: 250, Filters: 5, Values: 40, Aggregators: 10, Depth: 3, Groups: 15}
}

// Resolved returns l with AWS's value in each field that is 0. l may be nil.
func (l *Limits) Resolved() Limits {
	out := AWS()
	if l == nil {
		return out
	}
	for _, f := range [...]struct {
		to   *int
		from int
	}{
		{&out.Items, l.Items}, {&out.Entries, l.Entries}, {&out.Attributes, l.Attributes}, {&out.NameBytes, l.NameBytes}, {&out.ValueBytes, l.ValueBytes}, {&out.TypeBytes, l.TypeBytes},
		{&out.ItemBytes, l.ItemBytes}, {&out.TotalBytes, l.TotalBytes}, {&out.CustomTypes, l.CustomTypes}, {&out.Files, l.Files}, {&out.Directories, l.Directories},
		{&out.Registry, l.Registry}, {&out.Filters, l.Filters}, {&out.Values, l.Values}, {&out.Aggregators, l.Aggregators}, {&out.Depth, l.Depth}, {&out.Groups, l.Groups},
	} {
		if f.from != 0 {
			*f.to = f.from
		}
	}
	return out
}

// Over reports whether n is more than the limit allows; a negative limit allows all.
func Over(n, limit int) bool { return limit >= 0 && n > limit }
