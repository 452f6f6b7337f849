package getopt

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string // options seen, "letter=value", then "|" and the rest
		err  string
	}{
		{"no options", []string{"start"}, "|start", ""},
		{"joined flags", []string{"-vv", "start"}, "v=,v=|start", ""},
		{"value in the next word", []string{"-c", "dir", "-v"}, "c=dir,v=|", ""},
		{"value in the same word", []string{"-vcdir", "x"}, "v=,c=dir|x", ""},
		{"a value may look like an option", []string{"-c", "-v"}, "c=-v|", ""},
		{"an empty value", []string{"-c", "", "x"}, "c=|x", ""},
		{"double dash ends options", []string{"-v", "--", "-c"}, "v=|-c", ""},
		{"a dash alone is an argument", []string{"-", "-v"}, "|-,-v", ""},
		{"options after arguments are arguments", []string{"a", "-v"}, "|a,-v", ""},
		{"unknown option", []string{"-x"}, "", "invalid option -- 'x'"},
		{"colon is no option", []string{"-:"}, "", "invalid option -- ':'"},
		{"missing value", []string{"-vc"}, "", "option requires an argument -- 'c'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var seen []string
			rest, err := Parse(tt.args, "c:v", func(letter byte, value string) error {
				seen = append(seen, string(letter)+"="+value)
				return nil
			})
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("error %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(seen, ",") + "|" + strings.Join(rest, ","); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestParseStopsAtCallerError(t *testing.T) {
	boom := errors.New("boom")
	var seen []byte
	_, err := Parse([]string{"-v", "-c", "x", "-v"}, "c:v", func(letter byte, _ string) error {
		seen = append(seen, letter)
		if letter == 'c' {
			return boom
		}
		return nil
	})
	if !errors.Is(err, boom) || !slices.Equal(seen, []byte("vc")) {
		t.Errorf("error %v after %q", err, seen)
	}
}
