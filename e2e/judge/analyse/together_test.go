package analyse

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vipd-io/vipd/e2e/judge/record"
)

func TestTogether(t *testing.T) {
	at := func(seq uint32, t int, mac string) []record.Answer {
		return []record.Answer{{Seq: seq, At: ms(t), MAC: mac}}
	}
	tests := []struct {
		name     string
		answers  []record.Answer
		from, to int
		want     time.Duration
		still    bool
	}{
		{"nobody", nil, 0, 1000, 0, false},
		{"one", answers(a, 0, 1000), 0, 1000, 0, false},
		{"one, twice to one probe", concat(answers(a, 0, 1000), at(3, 17, a)), 0, 1000, 0, false},
		{"handed over", concat(answers(a, 0, 500), answers(b, 500, 1000)), 0, 1000, 0, false},
		{"in turn", concat(at(1, 5, a), at(2, 10, b), at(3, 15, a)), 0, 1000, 0, false},
		{"both for a while", concat(answers(a, 0, 500), answers(b, 400, 1000)), 0, 1000, 100 * time.Millisecond, false},
		{"both to the end", concat(answers(a, 0, 1000), answers(b, 400, 1000)), 0, 1000, 600 * time.Millisecond, true},
		{"three count as two do", concat(answers(a, 0, 1000), answers(b, 0, 1000), answers(c, 0, 1000)), 0, 1000, time.Second, true},
		{"three in turn in pairs", concat(answers(a, 0, 300), answers(b, 200, 600), answers(c, 500, 900)), 0, 1000, 200 * time.Millisecond, false},
		{"outside of the window", concat(answers(a, 0, 1000), answers(b, 0, 1000)), 400, 600, 200 * time.Millisecond, true},
		{"recorded out of order", concat(answers(b, 400, 1000), answers(a, 0, 500)), 0, 1000, 100 * time.Millisecond, false},
		{"an empty window", concat(answers(a, 0, 1000), answers(b, 0, 1000)), 600, 400, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, still := Together(tt.answers, ms(tt.from), ms(tt.to))
			if got != tt.want || still != tt.still {
				t.Errorf("Together = %v, %t, want %v, %t", got, still, tt.want, tt.still)
			}
		})
	}
}

func TestSpans(t *testing.T) {
	signs := []Sign{{a, ms(0)}, {a, ms(10)}, {b, ms(12)}, {a, ms(100)}, {b, ms(20)}, {a, ms(120)}, {a, ms(400)}}
	want := []Span{{a, ms(0), ms(10)}, {b, ms(12), ms(20)}, {a, ms(100), ms(120)}}
	if diff := cmp.Diff(want, Spans(signs, ms(0), ms(300), 20*time.Millisecond)); diff != "" {
		t.Errorf("spans (-want +got):\n%s", diff)
	}
	if got := Spans(signs, ms(200), ms(300), time.Second); got != nil {
		t.Errorf("spans of a window without signs: %v", got)
	}
	if got := Spans(nil, ms(0), ms(300), time.Second); got != nil {
		t.Errorf("spans of nothing: %v", got)
	}
}
