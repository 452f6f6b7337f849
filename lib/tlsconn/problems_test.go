package tlsconn

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sealpost/lib/config"
)

func TestProblems(t *testing.T) {
	for _, tc := range []struct {
		behaviour, param, value string
		want                    string // empty: nothing to say
	}{
		{"a lower bound", "smtpd_tls_protocols", ">=TLSv1.2", ""},
		{"versions that are gone may be excluded", "smtp_tls_protocols", "!SSLv2, !SSLv3", ""},
		{"a gap is no range", "smtpd_tls_protocols", "TLSv1 TLSv1.2", "gap below TLSv1.2"},
		{"nothing is left", "smtpd_tls_mandatory_protocols", "SSLv3", "leaves no protocol version"},
		{"a word that is no protocol", "lmtp_tls_protocols", "TLS9", "unknown protocol"},
		{"grades that exist", "smtpd_tls_ciphers", "high", ""},
		{"a grade that has nothing", "smtpd_tls_mandatory_ciphers", "null", `cipher grade "null" is not available`},
		{"a word that is no grade", "smtpd_tls_ciphers", "best", "unknown cipher grade"},
		{"what is absent may be excluded", "smtpd_tls_exclude_ciphers", "aNULL, RC4, 3DES", ""},
		{"a suite is excluded", "smtp_tls_exclude_ciphers", "AES128-SHA", ""},
		{"an unknown suite", "smtp_tls_mandatory_exclude_ciphers", "XYZZY", `"XYZZY" is not known`},
		{"suites of TLS 1.3 stay", "smtpd_tls_exclude_ciphers", "TLS_AES_128_GCM_SHA256", "cannot be excluded"},
		{"everything is excluded", "smtpd_tls_exclude_ciphers", "HIGH", "no cipher of TLS 1.2 and below is left"},
		{"curves that exist", "tls_eecdh_auto_curves", "X25519 prime256v1", ""},
		{"a curve that does not", "tls_eecdh_auto_curves", "X448 X25519", `curve "X448" is not available`},
		{"log level 2", "smtpd_tls_loglevel", "2", ""},
		{"log level 4", "smtpd_tls_loglevel", "4", "no more than level 2"},
		{"a named log level", "smtp_tls_loglevel", "summary, trace", `log level "trace"`},
		{"a log level that is none", "smtp_tls_loglevel", "5", `bad value "5"`},
		{"a digest", "smtp_tls_fingerprint_digest", "sha512", ""},
		{"a digest that is none", "smtpd_tls_fingerprint_digest", "crc32", `unknown digest "crc32"`},
		{"another parameter", "smtpd_banner", "TLSv1 TLSv1.2", ""},
	} {
		t.Run(tc.behaviour, func(t *testing.T) {
			got := strings.Join(Problems(tc.param, tc.value), "; ")
			if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
				t.Errorf("Problems(%s, %q) = %q, want %q", tc.param, tc.value, got, tc.want)
			}
		})
	}
}

// The defaults of Postfix are no problem: nobody asked for them.
func TestDefaultsAreNoProblem(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.cf"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, p := range config.Params() {
		value, err := c.Expand(p.Default)
		if err != nil || value == "" || p.Computed {
			continue
		}
		for _, problem := range Problems(p.Name, value) {
			t.Errorf("%s = %s: %s", p.Name, value, problem)
		}
		if strings.Contains(p.Name, "_tls_protocols") {
			seen++
		}
	}
	if seen < 3 {
		t.Errorf("only %d protocol parameters were looked at", seen)
	}
}

func FuzzProblems(f *testing.F) {
	for _, value := range []string{">=TLSv1.2", "!TLSv1.1:TLSv1", "<=0304", "ECDHE+AES, !x", "AES128-SHA", "X25519", "2", ""} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if v, _, err := ParseProtocols(value); err == nil && (v.Min > v.Max || v.Min < 0x301 || v.Max > 0x304) {
			t.Errorf("ParseProtocols(%q) = %#x", value, v)
		}
		all, _, _ := ParseCiphers("medium", "")
		ids, problems, err := ParseCiphers("medium", value)
		if err != nil || len(ids) > len(all) || len(ids) == 0 && len(problems) == 0 {
			t.Errorf("ParseCiphers(%q): %d suites, %q, %v", value, len(ids), problems, err)
		}
		for _, c := range checks {
			Problems("x"+c.suffix, value)
		}
	})
}
