package hop

import (
	"fmt"
	"time"

	"sealpost/lib/config"
	"sealpost/lib/tlsconn"
)

// OpenEngine reads the certificates of smtp(8), or with lmtp of lmtp(8), and makes
// what makes handshakes; before a daemon drops its rights. files are those to
// watch for changes. warnf says what is wrong with certificates, and what a policy
// asks for that cannot be done.
func OpenEngine(c *config.Config, lmtp bool, warnf func(string, ...any)) (engine *tlsconn.Client, files []string, err error) {
	prefix := "smtp_"
	if lmtp {
		prefix = "lmtp_"
	}
	str := func(name string) string { return c.Str(prefix + name) }
	now := time.Now()
	load := func() (tlsconn.Certificates, error) {
		if chains := config.SplitList(str("tls_chain_files")); len(chains) > 0 {
			certs, err := tlsconn.LoadChains(chains, now)
			return certs, name(prefix+"tls_chain_files", err)
		}
		certs, err := tlsconn.LoadPairs([]tlsconn.Pair{
			{CertFile: str("tls_eccert_file"), KeyFile: str("tls_eckey_file")},
			{CertFile: str("tls_cert_file"), KeyFile: str("tls_key_file")},
		}, now)
		return certs, name(prefix+"tls_cert_file", err)
	}
	certs, err := tlsconn.Settle(now.Add(tlsconn.SettleTime), load)
	if err != nil {
		return nil, nil, err
	}
	for _, text := range certs.Warnings {
		warnf("%s", text)
	}
	roots, rootFiles, err := tlsconn.LoadRoots(str("tls_CAfile"), str("tls_CApath"), c.Bool("tls_append_default_CA"))
	if err != nil {
		return nil, nil, name(prefix+"tls_CAfile", err)
	}
	curves, _ := tlsconn.ParseCurves(config.SplitList(c.Str("tls_eecdh_auto_curves")))
	return tlsconn.NewClient(tlsconn.ClientOptions{
		Roots: roots, Certificates: certs.List, Curves: curves,
		Resume: str("tls_session_cache_database") != "", Warnf: warnf,
	}), append(certs.Files, rootFiles...), nil
}

func name(parameter string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("parameter %s: %w", parameter, err)
}
