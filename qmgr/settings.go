package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sealpost/lib/config"
	"sealpost/qmgr/schedule"
)

// settings are the parameters of main.cf that qmgr reads.
type settings struct {
	MinimalBackoff     time.Duration `conf:"minimal_backoff_time"`
	MaximalBackoff     time.Duration `conf:"maximal_backoff_time"`
	QueueRunDelay      time.Duration `conf:"queue_run_delay"`
	TransportRetryTime time.Duration `conf:"transport_retry_time"`
	QueueLifetime      time.Duration `conf:"maximal_queue_lifetime"`
	BounceLifetime     time.Duration `conf:"bounce_queue_lifetime"`

	ActiveLimit      int `conf:"qmgr_message_active_limit"`
	RecipientLimit   int `conf:"qmgr_message_recipient_limit"`
	RecipientMinimum int `conf:"qmgr_message_recipient_minimum"`
	ProbeLimit       int `conf:"address_verify_pending_request_limit"`
	ProcessLimit     int `conf:"default_process_limit"`

	DeferTransports      []string `conf:"defer_transports"`
	DefaultFilterNexthop string   `conf:"default_filter_nexthop"`
	Hostname             string   `conf:"myhostname"`
	RecipientDelimiter   string   `conf:"recipient_delimiter"`
	DoubleBounceSender   string   `conf:"double_bounce_sender"`
	AllowMinUser         bool     `conf:"allow_min_user"`
	ConfirmDelayCleared  bool     `conf:"confirm_delay_cleared"`
	SMTPUTF8             bool     `conf:"smtputf8_enable"`

	BounceService string `conf:"bounce_service_name"`
	DeferService  string `conf:"defer_service_name"`
	TraceService  string `conf:"trace_service_name"`
	ErrorService  string `conf:"error_service_name"`

	IPCTimeout    time.Duration `conf:"qmgr_ipc_timeout"`
	DaemonTimeout time.Duration `conf:"daemon_timeout"`
	Watchdog      time.Duration `conf:"qmgr_daemon_timeout"`

	ClogWarnTime    time.Duration `conf:"qmgr_clog_warn_time"`
	HelpfulWarnings bool          `conf:"helpful_warnings"`
	AddressFormat   string        `conf:"info_log_address_format"`
	DelayDecimals   int           `conf:"delay_logging_resolution_limit"`
}

// transportSettings are the per-transport parameters, those of the scheduler and
// those that bound what is read from queue files.
type transportSettings struct {
	limits      schedule.Limits
	recipients  int           // recipient_limit: in memory
	extra       int           // extra_recipient_limit: in memory, beyond the limits
	refill      int           // recipient_refill_limit
	refillDelay time.Duration // recipient_refill_delay
}

// readTransport reads the parameters of one transport.
func readTransport(c *config.Config, s *settings, name string) (transportSettings, error) {
	number := func(suffix string) int { return c.TransportInt(name, suffix) }
	t := transportSettings{
		recipients:  number("_recipient_limit"),
		extra:       number("_extra_recipient_limit"),
		refill:      number("_recipient_refill_limit"),
		refillDelay: c.TransportTime(name, "_recipient_refill_delay"),
	}
	l := &t.limits
	l.Concurrency = number("_destination_concurrency_limit")
	l.Recipients = number("_destination_recipient_limit")
	l.FailedCohorts = float64(number("_destination_concurrency_failed_cohort_limit"))
	l.SlotCost = number("_delivery_slot_cost")
	l.SlotDiscount = number("_delivery_slot_discount")
	l.SlotLoan = number("_delivery_slot_loan")
	l.MinSlots = number("_minimum_delivery_slots")
	l.RateDelay = c.TransportTime(name, "_destination_rate_delay")
	l.TransportRateDelay = c.TransportTime(name, "_transport_rate_delay")
	l.Backoff = s.MinimalBackoff
	l.RetryTime = s.TransportRetryTime
	var err error
	if l.InitialConcurrency, err = initialConcurrency(c, name); err != nil {
		return t, err
	}
	if l.Positive, err = readFeedback(c, name, "_destination_concurrency_positive_feedback"); err != nil {
		return t, err
	}
	l.Negative, err = readFeedback(c, name, "_destination_concurrency_negative_feedback")
	return t, err
}

// initialConcurrency: the default of this parameter has no "default_" in front.
func initialConcurrency(c *config.Config, name string) (int, error) {
	own := name + "_initial_destination_concurrency"
	if !setParam(c, own) {
		return c.Int("initial_destination_concurrency"), nil
	}
	text, err := c.Expand("${" + own + "}")
	if err != nil {
		return 0, err
	}
	var n int
	if _, err := fmt.Sscanf(strings.TrimSpace(text), "%d", &n); err != nil || n < 1 {
		return 0, fmt.Errorf("%s = %q: want a number of at least 1", own, text)
	}
	return n, nil
}

func readFeedback(c *config.Config, transport, suffix string) (schedule.Feedback, error) {
	name := transport + suffix
	if !setParam(c, name) {
		name = "default" + suffix
	}
	text, err := c.Expand("${" + name + "}")
	if err != nil {
		return schedule.Feedback{}, err
	}
	f, err := schedule.ParseFeedback(text)
	if err != nil {
		return f, fmt.Errorf("%s = %w", name, err)
	}
	return f, nil
}

// setParam reports whether main.cf gives a parameter a value.
func setParam(c *config.Config, name string) bool {
	text, err := c.Expand("${" + name + "?set}")
	return err == nil && text != ""
}

// defers reports whether mail for a transport waits for a flush.
func (s *settings) defers(transport string) bool {
	return slices.Contains(s.DeferTransports, transport)
}
