package main

import (
	"strings"
	"testing"
	"time"

	"sealpost/lib/config"
	"sealpost/qmgr/schedule"
)

func TestSettings(t *testing.T) {
	c, err := config.FromMap(map[string]string{
		"smtp_destination_concurrency_limit":                "7",
		"smtp_initial_destination_concurrency":              "3",
		"smtp_destination_concurrency_positive_feedback":    "1/concurrency",
		"smtp_destination_rate_delay":                       "10s",
		"slow_transport_rate_delay":                         "20s",
		"slow_destination_recipient_limit":                  "1",
		"slow_delivery_slot_cost":                           "9",
		"default_destination_concurrency_negative_feedback": "1 / 4",
		"slow_destination_concurrency_failed_cohort_limit":  "10",
		"bad_destination_concurrency_negative_feedback":     "2",
		"initial_destination_concurrency":                   "4",
		"minimal_backoff_time":                              "100s",
	})
	if err != nil {
		t.Fatal(err)
	}
	var s settings
	if err := c.Decode(&s); err != nil {
		t.Fatal(err)
	}
	if s.ActiveLimit != 20000 || s.ProbeLimit != 5000 || s.QueueLifetime != 120*time.Hour || s.MinimalBackoff != 100*time.Second ||
		s.BounceService != "bounce" || s.DoubleBounceSender != "double-bounce" || !s.SMTPUTF8 {
		t.Errorf("settings %+v", s)
	}
	overN, _ := schedule.ParseFeedback("1/concurrency")
	quarter, _ := schedule.ParseFeedback("0.25")
	one, _ := schedule.ParseFeedback("1")
	base := transportSettings{
		limits: schedule.Limits{
			InitialConcurrency: 4, Concurrency: 20, Recipients: 50, Positive: one, Negative: quarter, FailedCohorts: 1,
			SlotCost: 5, SlotDiscount: 50, SlotLoan: 3, MinSlots: 3, Backoff: 100 * time.Second, RetryTime: time.Minute,
		},
		recipients: 20000, extra: 1000, refill: 100, refillDelay: 5 * time.Second,
	}
	smtp := base
	smtp.limits.InitialConcurrency, smtp.limits.Concurrency, smtp.limits.Positive, smtp.limits.RateDelay = 3, 7, overN, 10*time.Second
	slow := base
	slow.limits.TransportRateDelay, slow.limits.Recipients, slow.limits.SlotCost, slow.limits.FailedCohorts = 20*time.Second, 1, 9, 10
	local := base
	local.limits.Recipients, local.limits.Concurrency = 1, 2
	for name, want := range map[string]transportSettings{"virtual": base, "smtp": smtp, "slow": slow, "local": local} {
		got, err := readTransport(c, &s, name)
		if err != nil || got != want {
			t.Errorf("%s: %v\n got %+v\nwant %+v", name, err, got, want)
		}
	}
	_, err = readTransport(c, &s, "bad")
	if err == nil || !strings.Contains(err.Error(), "bad_destination_concurrency_negative_feedback") {
		t.Errorf("error %v does not name the parameter", err)
	}
}
