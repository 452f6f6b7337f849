package smtpclient

import (
	"fmt"
	"strings"

	"sealpost/lib/config"
	"sealpost/lib/route"
)

// Load reads how smtp(8), or with lmtp lmtp(8), talks to servers. The error names
// the parameter.
func Load(c *config.Config, lmtp bool) (Settings, error) {
	prefix, name, timeout := "smtp_", "smtp_helo_name", "smtp_helo_timeout"
	if lmtp {
		prefix, name, timeout = "lmtp_", "lmtp_lhlo_name", "lmtp_lhlo_timeout"
	}
	s := Settings{
		LMTP:             lmtp,
		MyHostname:       c.Str("myhostname"),
		HeloName:         c.Str(name),
		HeloTimeout:      c.Time(timeout),
		StartTLSTimeout:  c.Time(prefix + "starttls_timeout"),
		QuitTimeout:      c.Time(prefix + "quit_timeout"),
		PerRequest:       c.Bool(prefix + "per_request_deadline"),
		Skip5xxGreeting:  c.Bool(prefix + "skip_5xx_greeting"),
		SkipQuitResponse: c.Bool(prefix + "skip_quit_response"),
		LoopPort:         route.LoopPort(lmtp),
	}
	s.Discard, _ = DiscardList(Discarded(c, lmtp))
	if !lmtp {
		s.AlwaysEHLO, s.NeverEHLO = c.Bool("smtp_always_send_ehlo"), c.Bool("smtp_never_send_ehlo")
	}
	// What is said in EHLO must not break the line.
	if s.HeloName == "" || strings.IndexFunc(s.HeloName, func(r rune) bool { return r <= ' ' || r == 0x7f }) >= 0 {
		return s, fmt.Errorf("parameter %s: %q cannot be said in a greeting", name, s.HeloName)
	}
	return s, nil
}

// Discarded is smtp_discard_ehlo_keywords, or lmtp_discard_lhlo_keywords.
func Discarded(c *config.Config, lmtp bool) []string {
	if lmtp {
		return config.SplitList(c.Str("lmtp_discard_lhlo_keywords"))
	}
	return config.SplitList(c.Str("smtp_discard_ehlo_keywords"))
}
