// Mkman turns the package comment of each program into a manual page.
//
//	mkman -o docs/man DIRECTORY ...
//
// The comment is written as Go doc comments are (go.dev/doc/comment): headings
// become sections, lists and indented text keep their form. Its first section
// must be NAME; the first name there names the page, further names become links
// to it. Daemons are in section 8, commands in section 1. The pages of main.cf and
// master.cf are in section 5; that of main.cf is made from the parameter table.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// daemons have their pages in section 8, everything else in section 1.
var daemons = []string{
	"bounce", "cleanup", "error", "master", "pickup", "pipe", "postlogd", "proxymap",
	"qmgr", "showq", "smtp", "smtpd", "virtual",
}

func main() {
	out := flag.String("o", "docs/man", "directory of the pages")
	formats := flag.String("5", "docs/man5", "directory of the texts of section 5")
	flag.Parse()
	if err := run(*out, *formats, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mkman:", err)
		os.Exit(1)
	}
}

func run(out, formats string, dirs []string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		text, err := packageComment(dir)
		if err == nil {
			err = write(out, filepath.Base(dir), text)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", dir, err))
		}
	}
	for name, text := range map[string]string{"postconf": parameters(), "master.cf": services} {
		if err := writePage(out, name, 5, text); err != nil {
			errs = append(errs, fmt.Errorf("%s(5): %w", name, err))
		}
	}
	texts, err := filepath.Glob(filepath.Join(formats, "*.txt"))
	if err != nil || len(texts) == 0 {
		errs = append(errs, fmt.Errorf("%s: no texts of section 5 (%v)", formats, err))
	}
	for _, file := range texts {
		text, err := os.ReadFile(file)
		if err == nil {
			err = writePage(out, strings.TrimSuffix(filepath.Base(file), ".txt"), 5, string(text))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
		}
	}
	return errors.Join(errs...)
}

// packageComment is the longest package comment in a directory.
func packageComment(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	best := ""
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			return "", err
		}
		if text := commentText(f.Doc); len(text) > len(best) {
			best = text
		}
	}
	if best == "" {
		return "", errors.New("no package comment")
	}
	return best, nil
}

func commentText(g *ast.CommentGroup) string {
	if g == nil {
		return ""
	}
	return g.Text()
}

// write writes the page and the pages that refer to it.
func write(out, name, text string) error {
	section := 1
	if slices.Contains(daemons, name) {
		section = 8
	}
	return writePage(out, name, section, text)
}

func writePage(out, name string, section int, text string) error {
	page, names, err := Page(name, section, text)
	if err != nil {
		return err
	}
	file := fmt.Sprintf("%s.%d", names[0], section)
	if err := os.WriteFile(filepath.Join(out, file), page, 0o644); err != nil {
		return err
	}
	for _, other := range names[1:] {
		// A link, so that "man -l" finds the page where it is, too.
		link := filepath.Join(out, fmt.Sprintf("%s.%d", other, section))
		if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err := os.Symlink(file, link); err != nil {
			return err
		}
	}
	return nil
}

// Page converts one comment. It returns the roff text and the names that the
// page describes.
func Page(name string, section int, text string) (roff []byte, names []string, err error) {
	var p comment.Parser
	doc := p.Parse(text)
	var b bytes.Buffer
	// No hyphens: whoever searches for a parameter finds its name in one piece.
	fmt.Fprintf(&b, ".TH %s %d \"\" Sealpost\n.nh\n.ad l\n", strings.ToUpper(name), section)
	heading := ""
	for _, block := range doc.Content {
		if h, ok := block.(*comment.Heading); ok {
			heading = plain(h.Text)
			fmt.Fprintf(&b, ".SH %s\n", quote(strings.ToUpper(heading)))
			continue
		}
		if heading == "" {
			continue // the sentence that go doc wants first
		}
		if par, ok := block.(*comment.Paragraph); ok && heading == "NAME" && names == nil {
			if names, err = pageNames(plain(par.Text)); err != nil {
				return nil, nil, err
			}
		}
		writeBlock(&b, block)
	}
	if names == nil {
		return nil, nil, errors.New(`the package comment has no "# NAME" with "name - what it does"`)
	}
	return b.Bytes(), names, nil
}

// pageNames reads "smtp, lmtp - deliver mail".
func pageNames(text string) ([]string, error) {
	list, _, ok := strings.Cut(text, " - ")
	if !ok {
		return nil, fmt.Errorf("NAME must read \"name - what it does\", not %q", text)
	}
	var names []string
	for _, n := range strings.Split(list, ",") {
		n = strings.TrimSpace(n)
		if n == "" || strings.ContainsAny(n, " /") {
			return nil, fmt.Errorf("bad name %q in NAME", n)
		}
		names = append(names, n)
	}
	return names, nil
}

func writeBlock(b *bytes.Buffer, block comment.Block) {
	switch block := block.(type) {
	case *comment.Paragraph:
		b.WriteString(".PP\n")
		writeText(b, plain(block.Text))
	case *comment.Code:
		b.WriteString(".PP\n.RS 4\n.nf\n")
		writeText(b, strings.TrimSuffix(block.Text, "\n"))
		b.WriteString(".fi\n.RE\n")
	case *comment.List:
		for _, item := range block.Items {
			writeItem(b, item)
		}
	}
}

// writeItem gives an item of the form "name (default): text" a line of its own
// for the name. Each item says how far it is indented: else it would be as far as
// the one before, of another form.
func writeItem(b *bytes.Buffer, item *comment.ListItem) {
	for i, block := range item.Content {
		par, ok := block.(*comment.Paragraph)
		if !ok || i > 0 {
			b.WriteString(".IP\n")
			writeBlock(b, block)
			continue
		}
		text := plain(par.Text)
		if item.Number != "" {
			fmt.Fprintf(b, ".IP %s. 4\n", item.Number)
			writeText(b, text)
			continue
		}
		if term, rest, found := cutTerm(text); found {
			b.WriteString(".TP 7\n")
			b.WriteString(`\fB` + escape(strings.ReplaceAll(term, "\n", " ")) + `\fR` + "\n")
			writeText(b, rest)
			continue
		}
		b.WriteString(".IP \\(bu 2\n")
		writeText(b, text)
	}
}

// cutTerm cuts "name (default): text", or any short "term: text". A default may
// have colons of its own.
func cutTerm(text string) (term, rest string, found bool) {
	if name, _, ok := strings.Cut(text, " ("); ok && !strings.Contains(name, " ") {
		if term, rest, found = cutColon(text, ")"); found {
			return term, rest, true
		}
	}
	term, rest, found = cutColon(text, "")
	return term, rest, found && !strings.Contains(term, ". ") && len(term) < 200
}

// cutColon cuts at the first colon that comes after text and ends a word; the line
// may end there.
func cutColon(s, after string) (before, rest string, found bool) {
	for i := range s {
		if tail, ok := strings.CutPrefix(s[i:], after+":"); ok && (strings.HasPrefix(tail, " ") || strings.HasPrefix(tail, "\n")) {
			return s[:i] + after, tail[1:], true
		}
	}
	return "", "", false
}

// plain is the text without its markup.
func plain(text []comment.Text) string {
	var b strings.Builder
	for _, t := range text {
		switch t := t.(type) {
		case comment.Plain:
			b.WriteString(string(t))
		case comment.Italic:
			b.WriteString(string(t))
		case *comment.Link:
			b.WriteString(plain(t.Text))
		case *comment.DocLink:
			b.WriteString(plain(t.Text))
		}
	}
	return b.String()
}

// writeText writes lines so that roff takes them as they are.
func writeText(b *bytes.Buffer, text string) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		line = escape(line)
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			b.WriteString(`\&`)
		}
		b.WriteString(line + "\n")
	}
}

func escape(s string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
}

func quote(s string) string { return `"` + strings.ReplaceAll(escape(s), `"`, "'") + `"` }
