package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/lib/mailclient"
	"sealpost/lib/maillog"
	"sealpost/lib/mailproto"
	"sealpost/lib/queue"
	"sealpost/lib/rewrite"
	"sealpost/lib/service"
	"sealpost/lib/table"
)

// settings are the parameters that cleanup reads.
type settings struct {
	MyHostname       string        `conf:"myhostname"`
	AttrLimit        int           `conf:"queue_file_attribute_count_limit"`
	HeaderSize       int           `conf:"header_size_limit"`
	HeaderTokens     int           `conf:"header_address_token_limit"`
	LineLength       int           `conf:"line_length_limit"`
	MessageSize      int64         `conf:"message_size_limit"`
	HopCount         int           `conf:"hopcount_limit"`
	AlwaysAddHeaders bool          `conf:"always_add_missing_headers"`
	Undisclosed      string        `conf:"undisclosed_recipients_header"`
	DropHeaders      []string      `conf:"message_drop_headers"`
	FromFormat       string        `conf:"header_from_format"`
	RemoteDomain     string        `conf:"remote_header_rewrite_domain"`
	ReplaceStray     bool          `conf:"cleanup_replace_stray_cr_lf"`
	AliasExpansion   int           `conf:"virtual_alias_expansion_limit"`
	AliasRecursion   int           `conf:"virtual_alias_recursion_limit"`
	AliasLength      int           `conf:"virtual_alias_address_length_limit"`
	AlwaysBCC        string        `conf:"always_bcc"`
	DuplicateLimit   int           `conf:"duplicate_filter_limit"`
	DelayWarning     time.Duration `conf:"delay_warning_time"`
	InFlowDelay      time.Duration `conf:"in_flow_delay"`
	IPCTimeout       time.Duration `conf:"ipc_timeout"`
	LongIDs          bool          `conf:"enable_long_queue_ids"`
	EmptyRecipient   string        `conf:"empty_address_recipient"`
	Delimiters       string        `conf:"recipient_delimiter"`
	Propagate        []string      `conf:"propagate_unmatched_extensions"`
	RequireTLS       bool          `conf:"requiretls_enable"`
	RequireTLSHeader bool          `conf:"requiretls_esmtp_header"`
	TLSRequired      bool          `conf:"tls_required_enable"`
	SMTPUTF8         bool          `conf:"smtputf8_enable"`
	BounceService    string        `conf:"bounce_service_name"`
	TraceService     string        `conf:"trace_service_name"`
	QueueService     string        `conf:"queue_service_name"`
	BodyChecksSize   int           `conf:"body_checks_size_limit"`
	PlainInput       bool          `conf:"disable_mime_input_processing"`
	MIMENesting      int           `conf:"mime_nesting_limit"`
	MIMEBoundary     int           `conf:"mime_boundary_length_limit"`

	CanonicalClasses          []string `conf:"canonical_classes"`
	SenderCanonicalClasses    []string `conf:"sender_canonical_classes"`
	RecipientCanonicalClasses []string `conf:"recipient_canonical_classes"`
	MasqueradeClasses         []string `conf:"masquerade_classes"`
	MasqueradeDomains         []string `conf:"masquerade_domains"`
	MasqueradeExceptions      []string `conf:"masquerade_exceptions"`
}

// worker is what all sessions share. It does not change after newWorker.
type worker struct {
	set     settings
	dropped map[string]bool // names of message_drop_headers in lower case
	log     *maillog.Logger
	queue   *queue.Queue
	flow    flow
	rewrite *rewrite.Rewriter
	trigger func()

	virtualAlias *table.Maps
	senderBCC    *table.Maps
	recipientBCC *table.Maps
	mapping      mapping
	checks       checks

	// bounce sends one request to a bounce service.
	bounce func(ctx context.Context, path string, r *mailproto.BounceRequest) error
	now    func() time.Time
}

// flow is the flow control between cleanup and qmgr; *service.Flow is one.
type flow interface {
	Wait(ctx context.Context, delay time.Duration) (took bool)
	PutTokens(n int)
}

func newWorker(env *service.Env) (*worker, error) {
	w := &worker{
		log: env.Log, queue: env.Queue, flow: env.Flow,
		bounce: mailclient.Bounce, now: time.Now,
	}
	if err := env.Config.Decode(&w.set); err != nil {
		return nil, err
	}
	w.dropped = make(map[string]bool)
	for _, name := range w.set.DropHeaders {
		w.dropped[strings.ToLower(strings.TrimSuffix(name, ":"))] = true
	}
	tables := table.Env{Warnf: env.Log.Warnf}
	var err error
	if w.rewrite, err = rewrite.New(env.Config, tables); err != nil {
		return nil, fmt.Errorf("address rewriting: %w", err)
	}
	open := func(param string) *table.Maps {
		return table.OpenMaps(tables, param, env.Config.Str(param))
	}
	w.virtualAlias = open("virtual_alias_maps")
	w.senderBCC = open("sender_bcc_maps")
	w.recipientBCC = open("recipient_bcc_maps")
	w.mapping = newMapping(&w.set, open)
	w.checks = newChecks(open)
	w.trigger = mailclient.NewTriggers("public/"+w.set.QueueService, string(mailproto.TriggerWakeup)).Notify
	return w, nil
}

// files are the tables to watch.
func (w *worker) files() []string {
	files := w.rewrite.Files()
	for _, m := range slices.Concat([]*table.Maps{w.virtualAlias, w.senderBCC, w.recipientBCC}, w.mapping.tables(), w.checks.tables()) {
		files = append(files, m.Files()...)
	}
	return files
}

func (w *worker) search() table.AddrSearch {
	return table.AddrSearch{Delimiters: w.set.Delimiters, LocalDomain: func(domain string) bool {
		bare, err := w.rewrite.BareUsers(context.Background(), domain)
		return bare && err == nil
	}}
}

// initialize is called by the frame before the first session.
func initialize(env *service.Env) (*service.Worker, error) {
	w, err := newWorker(env)
	if err != nil {
		return nil, err
	}
	return &service.Worker{Conn: w.serve, Files: w.files()}, nil
}

// lookup names for propagate_unmatched_extensions.
const propagateVirtual, propagateCanonical = "virtual", "canonical"

func has(list []string, word string) bool {
	for _, s := range list {
		if strings.EqualFold(s, word) {
			return true
		}
	}
	return false
}
