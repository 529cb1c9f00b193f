package inventory

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/fleetwright/fleetwright/fault"
)

// ParseCustom reads a file of custom inventory as AWS's agents take it (V8): a JSON object of TypeName, SchemaVersion and Content, which is one object or a list of objects whose values are
// all strings. The item has its hash and no capture time. Errors: InvalidTypeNameException, UnsupportedInventorySchemaVersionException, InvalidItemContentException,
// ItemSizeLimitExceededException.
func ParseCustom(data []byte, l *Limits) (Item, error) {
	const op = "inventory.ParseCustom"
	bad := func(format string, args ...any) (Item, error) {
		return Item{}, fault.New(op, InvalidItemContent, format, args...)
	}
	lim := l.Resolved()
	if Over(len(data), lim.ItemBytes) {
		return Item{}, fault.New(op, ItemSizeLimitExceeded, "the file has %d bytes, at most %d are allowed", len(data), lim.ItemBytes)
	}
	var file struct {
		TypeName      string
		SchemaVersion string
		Content       json.RawMessage
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // Windows' editors begin with it
	if err := json.Unmarshal(data, &file); err != nil {
		return bad("the file is no JSON object with the strings TypeName and SchemaVersion, and Content")
	}
	if !strings.HasPrefix(file.TypeName, CustomPrefix) {
		return Item{}, fault.New(op, InvalidTypeName, "the TypeName %q does not begin with Custom: spelt exactly so", fault.Clean(file.TypeName))
	}
	if file.SchemaVersion == "" || len(file.Content) == 0 {
		return bad("SchemaVersion or Content is missing")
	}
	var raw []map[string]any
	switch file.Content[0] {
	case '{':
		raw = make([]map[string]any, 1)
		if err := json.Unmarshal(file.Content, &raw[0]); err != nil {
			return bad("Content is no JSON object")
		}
	case '[':
		if err := json.Unmarshal(file.Content, &raw); err != nil {
			return bad("Content is a list that does not hold objects alone")
		}
	default:
		return bad("Content is neither an object nor a list of objects")
	}
	content := make([]Entry, len(raw))
	for i, m := range raw {
		if m == nil {
			return bad("entry %d of Content is null: write an object", i+1)
		}
		content[i] = make(Entry, len(m))
		for k, v := range m {
			s, ok := v.(string)
			if !ok {
				return bad("entry %d of Content: the value of %q is not a string; write numbers and booleans as strings, and nothing as an empty one", i+1, fault.Clean(k))
			}
			content[i][k] = s
		}
	}
	it := Item{TypeName: file.TypeName, SchemaVersion: file.SchemaVersion, CaptureTime: "2000-01-01T00:00:00Z", Content: content, ContentHash: ContentHash(content)}
	if err := l.ValidateItem(it); err != nil {
		return Item{}, err
	}
	it.CaptureTime = ""
	return it, nil
}
