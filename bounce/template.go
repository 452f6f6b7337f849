package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"time"
)

// template is the text and the header of one kind of notification, as in
// bounce(5).
type template struct {
	charset           string
	from              string
	subject           string
	postmasterSubject string
	delivered         bool // the message is not "undelivered"
	text              []string
}

type templates struct {
	failure, delay, success, verify template
}

const defaultFrom = "Mail Delivery System <MAILER-DAEMON>"

// builtin are the texts without a template file. They say what happened, what
// happens next, and whom to ask.
func builtin() map[string]*template {
	return map[string]*template{
		"failure_template": {
			charset: "utf-8", from: defaultFrom,
			subject:           "Undelivered Mail Returned to Sender",
			postmasterSubject: "Postmaster Copy: Undelivered Mail",
			text: []string{
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
			charset: "utf-8", from: defaultFrom,
			subject:           "Delayed Mail (still being retried)",
			postmasterSubject: "Postmaster Warning: Delayed Mail",
			text: []string{
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
			charset: "utf-8", from: defaultFrom, delivered: true,
			subject:           "Successful Mail Delivery Report",
			postmasterSubject: "Postmaster Copy: Successful Mail Delivery Report",
			text: []string{
				"This is the mail system at host $myhostname.",
				"",
				"Your message was delivered to the recipients below, or handed to a",
				"mail system that does not send reports of this kind. In that case",
				"you hear from that system only if something goes wrong.",
			},
		},
		"verify_template": {
			charset: "utf-8", from: defaultFrom, delivered: true,
			subject:           "Mail Delivery Status Report",
			postmasterSubject: "Postmaster Copy: Mail Delivery Status Report",
			text: []string{
				"This is the mail system at host $myhostname.",
				"",
				"This is the delivery report that you asked for.",
			},
		},
	}
}

// params is what a template needs of main.cf; *config.Config is one.
type params interface {
	Expand(text string) (string, error)
	Time(name string) time.Duration
}

// loadTemplates gives the built-in templates with those of a bounce(5) file put
// over them. Errors name the file and line.
func loadTemplates(path string, p params) (templates, error) {
	all := builtin()
	if path != "" {
		if err := readTemplates(path, all); err != nil {
			return templates{}, err
		}
	}
	for name, t := range all {
		text, err := expandText(t.text, p)
		if err != nil {
			return templates{}, fmt.Errorf("%s: %w", name, err)
		}
		t.text = text
	}
	return templates{
		failure: *all["failure_template"], delay: *all["delay_template"],
		success: *all["success_template"], verify: *all["verify_template"],
	}, nil
}

func readTemplates(path string, all map[string]*template) error {
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
func (t *template) parse(body []string) error {
	for i, line := range body {
		if line == "" {
			t.text = body[i+1:]
			return nil
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !ok || !isASCII(line) || strings.IndexByte(line, 0) >= 0 {
			return fmt.Errorf("malformed header %q", line)
		}
		switch strings.ToLower(name) {
		case "charset":
			t.charset = value
		case "from":
			t.from = value
		case "subject":
			t.subject = value
		case "postmaster-subject":
			t.postmasterSubject = value
		default:
			return fmt.Errorf("unknown header %q", name)
		}
	}
	t.text = nil
	return nil
}

var units = map[string]time.Duration{
	"_seconds": time.Second, "_minutes": time.Minute, "_hours": time.Hour,
	"_days": 24 * time.Hour, "_weeks": 7 * 24 * time.Hour,
}

// expandText replaces $name in the lines of a template. The two time parameters
// that texts mention can be had in any unit: delay_warning_time_hours.
func expandText(lines []string, p params) ([]string, error) {
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
