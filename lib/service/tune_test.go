package service

import "testing"

func TestGCPercent(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, 1600}, {100 << 10, 1600}, {1 << 20, 700}, {2 << 20, 300}, {4 << 20, 100}, {16 << 20, 100}, {1 << 30, 100},
	} {
		if got := gcPercent(c.live); got != c.want {
			t.Errorf("%d bytes live: %d%%, want %d%%", c.live, got, c.want)
		}
	}
}
