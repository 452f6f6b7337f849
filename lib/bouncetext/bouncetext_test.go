package bouncetext

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func load(t *testing.T, text string) (Set, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bounce.cf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return Load(path)
}

func TestFileReplacesWhatItNames(t *testing.T) {
	set, err := load(t, "# c\n\ndelay_template = <<END\nSubject: late\nCharset: us-ascii\n\nline $x\n\n  EOF\nEND\n")
	if err != nil {
		t.Fatal(err)
	}
	builtin, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	got := set["delay_template"]
	want := &Template{Charset: "us-ascii", From: defaultFrom, Subject: "late", PostmasterSubject: builtin["delay_template"].PostmasterSubject,
		Text: []string{"line $x", "", "  EOF"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if !reflect.DeepEqual(set["failure_template"], builtin["failure_template"]) {
		t.Errorf("the failure template changed: %+v", set["failure_template"])
	}
}

func TestMalformedFilesAreErrorsWithTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"nosuch_template = <<EOF\nEOF\n":        "line 1: unknown template name",
		"\nfailure_template = <<EOF\nabc\n":     "line 2: template failure_template has no end line",
		"failure_template = <<E\nX-Y: z\n\nE\n": "unknown header",
		"failure_template = <<E\nnothing\nE\n":  "malformed header",
		"failure_template\n":                    `line 1: expected "template_name = <<EOF"`,
		"failure_template = <<\n":               `line 1: expected "template_name = <<EOF"`,
	} {
		if _, err := load(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "nosuch")); err == nil {
		t.Error("a file that is not there was read")
	}
}

// What Format writes is read as the same set.
func TestFormatIsReadBack(t *testing.T) {
	set, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, name := range Names {
		text.WriteString(set[name].Format(name) + "\n")
	}
	again, err := load(t, text.String())
	if err != nil || !reflect.DeepEqual(again, set) {
		t.Errorf("%v, %+v", err, again)
	}
}

// A file that is accepted is accepted as Format writes it, with the same meaning.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{"failure_template = <<EOF\nFrom: a\n\ntext\nEOF\n", "delay_template=<<x\n\nx\n# c\n", "verify_template = <<E\nSubject:\n\n\n\nE"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := load(t, text)
		if err != nil {
			return
		}
		for _, name := range Names {
			if strings.Contains("\n"+set[name].body(), "\nEOF\n") {
				return // it needs another end line
			}
			again, err := load(t, set[name].Format(name))
			if err != nil || again[name].Format(name) != set[name].Format(name) {
				t.Errorf("%q: %v, %+v and %+v", text, err, again[name], set[name])
			}
		}
	})
}
