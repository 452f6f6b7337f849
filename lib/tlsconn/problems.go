package tlsconn

import (
	"fmt"
	"slices"
	"strings"

	"sealpost/lib/tlspolicy"
)

// checks are the parameters of which crypto/tls may not be able to do everything,
// by the end of their names: smtpd_tls_protocols, lmtp_tls_protocols and so on.
// The longest end counts.
var checks = []struct {
	suffix string
	check  func(value string) []string
}{
	{"_tls_mandatory_exclude_ciphers", excludeProblems},
	{"_tls_exclude_ciphers", excludeProblems},
	{"_tls_mandatory_ciphers", gradeProblems},
	{"_tls_ciphers", gradeProblems},
	{"_tls_mandatory_protocols", protocolProblems},
	{"_tls_protocols", protocolProblems},
	{"_tls_loglevel", logLevelProblems},
	{"_tls_fingerprint_digest", digestProblems},
	{"tls_eecdh_auto_curves", func(value string) []string {
		_, problems := ParseCurves(splitWords(value))
		return problems
	}},
}

// Problems are what a parameter asks for and crypto/tls cannot give, and values
// that mean nothing, one sentence each (decision 50). It is empty for a parameter
// that has nothing to do with TLS.
func Problems(param, value string) []string {
	for _, c := range checks {
		if strings.HasSuffix(param, c.suffix) {
			return c.check(value)
		}
	}
	return nil
}

func protocolProblems(value string) []string {
	_, problems, err := ParseProtocols(value)
	return withError(problems, err)
}

func gradeProblems(value string) []string {
	_, problems, err := ParseCiphers(value, "")
	return withError(problems, err)
}

func excludeProblems(value string) []string {
	_, problems, err := ParseCiphers("medium", value)
	for _, word := range splitWords(value) {
		if strings.HasPrefix(strings.ToUpper(word), "TLS_") {
			problems = append(problems, fmt.Sprintf("excluded cipher %q: the ciphers of TLSv1.3 cannot be excluded; it may be used", word))
		}
	}
	return withError(problems, err)
}

func logLevelProblems(value string) []string {
	_, err := ParseLogLevel(value)
	var problems []string
	for _, word := range splitWords(value) {
		if slices.Contains(beyond, strings.ToLower(word)) {
			problems = append(problems, fmt.Sprintf("log level %q: packets of a handshake cannot be logged; it shows no more than level 2", word))
		}
	}
	return withError(problems, err)
}

func digestProblems(value string) []string {
	if _, ok := tlspolicy.Digest(value, nil); ok {
		return nil
	}
	return []string{fmt.Sprintf("unknown digest %q; specify one of: md5, sha1, sha224, sha256, sha384, sha512", value)}
}

func withError(problems []string, err error) []string {
	if err != nil {
		return append(problems, err.Error())
	}
	return problems
}
