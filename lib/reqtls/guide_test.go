package reqtls

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"sealpost/lib/dsn"
	"sealpost/lib/tlspolicy"
)

// everyVerdict are the last verdicts of all ways to go: levels, policies, servers.
func everyVerdict() []Verdict {
	var all []Verdict
	for level := Failed; level <= Enforce; level++ {
		for tl := tlspolicy.None; tl <= tlspolicy.Secure; tl++ {
			for bits := range 1 << 10 {
				bit := func(n int) bool { return bits>>n&1 == 1 }
				srv := server{offers: bit(0), refuses: bit(1), broken: bit(2), announces: bit(3), announcesInTheClear: bit(4),
					peer: tlspolicy.Peer{Present: true, Trusted: bit(5), Matched: bit(6), Authentic: bit(7), Unusable: bit(8)}}
				v, _ := offer(level, policyOf(tl, bit(9)), srv)
				all = append(all, v)
			}
		}
	}
	return all
}

// TestGuide: the quick reference of docs/requiretls.md has every reason and every value
// of the tls= field that there is, and none that there is not.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/requiretls.md")
	if err != nil {
		t.Fatal(err)
	}
	reasons, fields := map[string]bool{}, map[string]bool{} // of the guide; true: there is such
	for _, m := range regexp.MustCompile(`(?m)^\| ([45]\.7\.\d+) \| (.*) \|$`).FindAllStringSubmatch(string(text), -1) {
		reasons[m[1]+" "+m[2]] = false
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ").FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(m[1], "/") || strings.HasPrefix(m[1], "may") {
			fields[shape(m[1])] = false
		}
	}
	documented := func(st dsn.Status) bool {
		for row := range reasons {
			code, text, _ := strings.Cut(row, " ")
			if parts := strings.Split(text, "..."); code == st.Code && inOrder(st.Reason, parts) {
				reasons[row] = true
				return true
			}
		}
		return false
	}
	missing := map[string]bool{}
	for _, v := range everyVerdict() {
		// What the TLS level alone says is in another guide.
		ours := strings.Contains(v.Status.Reason, "REQUIRETLS") || strings.Contains(v.Status.Reason, "handshake")
		if v.Action == tlspolicy.Skip && ours && !documented(v.Status) {
			missing[v.Status.Code+" "+v.Status.Reason] = true
		}
		if field := v.TLSField(); v.Request.Initial != "" {
			if _, ok := fields[shape(field)]; !ok {
				missing["tls="+field] = true
			}
			fields[shape(field)] = true
		} else if _, ok := fields[shape(field)]; ok {
			fields[shape(field)] = true
		}
	}
	fields[shape("unknown?/requiretls?")] = true // there is no policy to decide by
	for what := range missing {
		t.Errorf("the guide does not have %s", what)
	}
	for _, set := range []map[string]bool{reasons, fields} {
		for row, there := range set {
			if !there {
				t.Errorf("there is no %s", row)
			}
		}
	}
	if len(reasons) < 9 || len(fields) < 12 {
		t.Errorf("%d reasons, %d values", len(reasons), len(fields))
	}
}

// shape is a tls= field without the level's name, which the guide gives by example.
func shape(field string) string {
	level, request, _ := strings.Cut(field, "/")
	name := strings.Trim(level, "!?")
	if name != "unknown" {
		initial, final, _ := strings.Cut(name, ":")
		level = strings.Replace(level, initial, "LEVEL", 1)
		if final == "encrypt" {
			level = strings.Replace(level, ":encrypt", "", 1) // TLSA records that nobody can use
		}
	}
	return strings.TrimPrefix(level, "!") + "/" + request
}

// inOrder reports whether a text has all these parts, one after the other.
func inOrder(text string, parts []string) bool {
	for _, part := range parts {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return true
}
