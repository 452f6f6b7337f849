package service

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var late []string
		w := NewWatchdog(time.Minute, func(what string) { late = append(late, what) })
		end := w.Begin("short ", "step")
		time.Sleep(time.Minute - time.Second)
		end()
		end = w.Begin("long ", "step")
		time.Sleep(time.Minute + time.Second)
		end()
		NewWatchdog(0, func(string) { t.Error("without a limit") }).Begin("x", "")
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(late) != 1 || late[0] != "long step" {
			t.Errorf("late: %q", late)
		}
	})
}
