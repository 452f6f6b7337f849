// Package bouncetext holds the texts that notifications begin with: the built-in
// ones, and those of a bounce(5) file, which is
//
//	failure_template = <<EOF
//	Charset: us-ascii
//	From: Mail Delivery System <MAILER-DAEMON>
//	Subject: Undelivered Mail Returned to Sender
//	Postmaster-Subject: Postmaster Copy: Undelivered Mail
//
//	The text, with $name of main.cf parameters.
//	EOF
//
// once for each of failure_template, delay_template, success_template and
// verify_template, with empty lines and # comments between them. Errors name file
// and line.
package bouncetext

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"sealpost/lib/idn"
)

// Template is the text and the header of one kind of notification.
type Template struct {
	Charset           string
	From              string
	Subject           string
	PostmasterSubject string
	Delivered         bool // the message is not "undelivered"
	Text              []string
}

// Names are the templates in the order of a file.
var Names = [...]string{"failure_template", "delay_template", "success_template", "verify_template"}

// Set is one template for each of Names.
type Set map[string]*Template

const defaultFrom = "Mail Delivery System <MAILER-DAEMON>"

// builtin are the texts without a template file. They say what happened, what
// happens next, and whom to ask.
func builtin() Set {
	return Set{
		"failure_template": {
			Charset: "utf-8", From: defaultFrom,
			Subject:           "Undelivered Mail Returned to Sender",
			PostmasterSubject: "Postmaster Copy: Undelivered Mail",
			Text: []string{
				"This is the mail system at host $myhostname.",
				"",
				"Your message could not be delivered to the recipients below, and it",
				"will not be tried again. The reason is given for each of them. The",
				"message, or its headers, is attached.",
				"",
				"If you need help, forward this report to your postmaster.",
			},
		},
		"delay_template": {
			Charset: "utf-8", From: defaultFrom,
			Subject:           "Delayed Mail (still being retried)",
			PostmasterSubject: "Postmaster Warning: Delayed Mail",
			Text: []string{
				"This is the mail system at host $myhostname.",
				"",
				"This is only a warning. You need not send your message again.",
				"",
				"Your message has not been delivered to the recipients below for more",
				"than $delay_warning_time_hours hour(s). It will be tried until it is",
				"$maximal_queue_lifetime_days day(s) old, then it will be returned to you.",
			},
		},
		"success_template": {
			Charset: "utf-8", From: defaultFrom, Delivered: true,
			Subject:           "Successful Mail Delivery Report",
			PostmasterSubject: "Postmaster Copy: Successful Mail Delivery Report",
			Text: []string{
				"This is the mail system at host $myhostname.",
				"",
				"Your message was delivered to the recipients below, or handed to a",
				"mail system that does not send reports of this kind. In that case",
				"you hear from that system only if something goes wrong.",
			},
		},
		"verify_template": {
			Charset: "utf-8", From: defaultFrom, Delivered: true,
			Subject:           "Mail Delivery Status Report",
			PostmasterSubject: "Postmaster Copy: Mail Delivery Status Report",
			Text: []string{
				"This is the mail system at host $myhostname.",
				"",
				"This is the delivery report that you asked for.",
			},
		},
	}
}

// Params is what a template needs of main.cf; *config.Config is one.
type Params interface {
	Expand(text string) (string, error)
	Time(name string) time.Duration
}

// Load gives the built-in templates with those of a file put over them; without a
// path the built-in ones. The texts are as written.
func Load(path string) (Set, error) {
	all := builtin()
	if path == "" {
		return all, nil
	}
	return all, readTemplates(path, all)
}

// Expand replaces $name in the texts.
func (s Set) Expand(p Params) error {
	for name, t := range s {
		text, err := expandText(t.Text, p)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		t.Text = text
	}
	return nil
}

// Format is the template as a bounce(5) file has it.
func (t *Template) Format(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s = <<EOF\nCharset: %s\nFrom: %s\nSubject: %s\n", name, t.Charset, t.From, t.Subject)
	if t.PostmasterSubject != "" {
		fmt.Fprintf(&b, "Postmaster-Subject: %s\n", t.PostmasterSubject)
	}
	b.WriteString("\n" + t.body() + "EOF\n")
	return b.String()
}

// FormatText is the text alone in the same form, under another name.
func (t *Template) FormatText(name string) string { return name + " = <<EOF\n" + t.body() + "EOF\n" }

func (t *Template) body() string {
	var b strings.Builder
	for _, line := range t.Text {
		b.WriteString(line + "\n")
	}
	return b.String()
}

func readTemplates(path string, all Set) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("bounce_template_file: %w", err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	line := 0
	next := func() bool { line++; return sc.Scan() }
	for next() {
		text := strings.TrimSpace(sc.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		name, end, ok := strings.Cut(text, "=")
		name, end = strings.TrimSpace(name), strings.TrimSpace(end)
		if !ok || !strings.HasPrefix(end, "<<") || len(end) == 2 {
			return fmt.Errorf("%s, line %d: expected \"template_name = <<EOF\", found %q", path, line, text)
		}
		t := all[name]
		if t == nil {
			return fmt.Errorf("%s, line %d: unknown template name %q", path, line, name)
		}
		start := line
		end = strings.TrimSpace(end[2:])
		var body []string
		found := false
		for !found && next() {
			if found = sc.Text() == end; !found {
				body = append(body, sc.Text())
			}
		}
		if !found {
			return fmt.Errorf("%s, line %d: template %s has no end line %q", path, start, name, end)
		}
		if err := t.parse(body); err != nil {
			return fmt.Errorf("%s, line %d: template %s: %w", path, start, name, err)
		}
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("%s, line %d: %w", path, line, err)
	}
	return nil
}

// parse takes the template headers off the body.
func (t *Template) parse(body []string) error {
	for i, line := range body {
		if line == "" {
			t.Text = body[i+1:]
			return nil
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !ok || !idn.ASCII(line) || strings.IndexByte(line, 0) >= 0 {
			return fmt.Errorf("malformed header %q", line)
		}
		switch strings.ToLower(name) {
		case "charset":
			t.Charset = value
		case "from":
			t.From = value
		case "subject":
			t.Subject = value
		case "postmaster-subject":
			t.PostmasterSubject = value
		default:
			return fmt.Errorf("unknown header %q", name)
		}
	}
	t.Text = nil
	return nil
}

var units = map[string]time.Duration{
	"_seconds": time.Second, "_minutes": time.Minute, "_hours": time.Hour,
	"_days": 24 * time.Hour, "_weeks": 7 * 24 * time.Hour,
}

// expandText replaces $name in the lines of a template. The two time parameters
// that texts mention can be had in any unit: delay_warning_time_hours.
func expandText(lines []string, p Params) ([]string, error) {
	out := make([]string, 0, len(lines))
	for _, line := range lines {
		for _, param := range [...]string{"delay_warning_time", "maximal_queue_lifetime"} {
			for suffix, unit := range units {
				name := "$" + param + suffix
				if !strings.Contains(line, name) {
					continue
				}
				line = strings.ReplaceAll(line, name, duration(p.Time(param), unit))
			}
		}
		text, err := p.Expand(line)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		out = append(out, text)
	}
	return out, nil
}

// duration gives the number of units in d for the texts, rounded to the nearest.
func duration(d, unit time.Duration) string {
	return strconv.FormatInt(int64((d+unit/2)/unit), 10)
}
