package smtpclient

import (
	"strings"
	"testing"
)

func FuzzEHLO(f *testing.F) {
	for _, s := range []string{"SIZE 100", "size", "SIZE -1", "AUTH=PLAIN", "PIPELINING ", "\x00", "SIZE 99999999999999999999"} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, line []byte, first bool) {
		const discard = ExtSTARTTLS | ExtDSN
		var fe Features
		fe.ehloLine(first, line, discard)
		if fe.Ext&discard != 0 || fe.MaxSize < 0 || first && fe.Ext != 0 || strings.ContainsAny(fe.Name, "\r\n\x00\x1b") {
			t.Fatalf("%q: %+v", line, fe)
		}
	})
}
