package config

import (
	"regexp"
	"strings"
	"testing"
)

// The kind of a row fits its default: what looks like a time is one, and a
// default that is another parameter has that one's kind.
func TestKindsFitDefaults(t *testing.T) {
	times := regexp.MustCompile(`^[0-9]+[smhdw]$`)
	// Numbers and yes or no among words, and the names that Postfix had before.
	text := map[string]bool{"lmtp_tcp_port": true, "mail_release_date": true, "process_id": true,
		"smtp_tls_loglevel": true, "lmtp_tls_loglevel": true, "smtpd_tls_loglevel": true,
		"default_destination_concurrency_negative_feedback": true, "default_destination_concurrency_positive_feedback": true,
		"readme_directory": true, "html_directory": true, "shlib_directory": true, "manpage_directory": true}
	old := map[string]bool{"authorized_verp_clients": true, "virtual_maps": true, "fallback_relay": true}
	one := regexp.MustCompile(`^\$\{?([0-9A-Za-z_]+)\}?$`)
	for _, p := range Params() {
		switch {
		case times.MatchString(p.Default) && p.Kind != Time && p.Kind != Str:
			t.Errorf("%s = %s is of kind %s", p.Name, p.Default, p.Kind)
		case (p.Default == "yes" || p.Default == "no") && p.Kind != Bool && p.Kind != Enum && !text[p.Name]:
			t.Errorf("%s = %s is of kind %s", p.Name, p.Default, p.Kind)
		case allDigits(p.Default) && p.Kind < Int && !text[p.Name]:
			t.Errorf("%s = %s is of kind %s", p.Name, p.Default, p.Kind)
		}
		if m := one.FindStringSubmatch(p.Default); m != nil {
			other, ok := Lookup(m[1])
			if !ok && !old[m[1]] {
				t.Errorf("%s = %s: no such parameter", p.Name, p.Default)
			} else if ok && (other.Kind >= Bool || p.Kind >= Bool) && other.Kind != p.Kind {
				t.Errorf("%s is of kind %s, %s of kind %s", p.Name, p.Kind, other.Name, other.Kind)
			}
		}
		if p.Kind == Enum && (p.Values == "" || p.Default != "" && !strings.Contains(p.Default, "$") && !strings.Contains(" "+p.Values+" ", " "+p.Default+" ")) {
			t.Errorf("%s: the default %q is none of %q", p.Name, p.Default, p.Values)
		}
	}
}

// Every default can be evaluated, and is of its kind and within its bounds, at the
// compatibility levels that defaults tell apart and under stress.
func TestDefaultsAreAllowedValues(t *testing.T) {
	for _, level := range []string{"0", "1", "2", "3.6", "3.9", "3.11"} {
		for _, stress := range []string{"", "yes"} {
			c, err := FromMap(map[string]string{"compatibility_level": level, "stress": stress, "myhostname": "h.example", "mynetworks": "127.0.0.0/8"})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range Params() {
				if err := c.checkParam(p); err != nil {
					t.Errorf("level %s, stress %q: %v", level, stress, err)
				}
			}
		}
	}
}
