package chaos

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/vipd-io/vipd/e2e/judge/analyse"
	"github.com/vipd-io/vipd/e2e/judge/record"
	"github.com/vipd-io/vipd/e2e/judge/timeline"
)

// Names of the files in a report. Each episode has its own folder, whose name starts with the
// number of the episode.
const (
	runFile      = "run.json"
	episodeFile  = "episode.json"
	historyFile  = "history.jsonl.gz"
	verdictFile  = "verdict.json"
	timelineFile = "timeline.html"
	logsFolder   = "logs"
)

// Header contains what is needed to repeat a run.
type Header struct {
	Seed    uint64    `json:"seed"`
	Began   time.Time `json:"began"`
	Machine string    `json:"machine"`
}

// NewSeed returns a random seed that is short enough to be typed.
func NewSeed() uint64 { return rand.Uint64()>>32 + 1 }

// Folder returns the folder of a new report.
func Folder(reports string, seed uint64) string {
	return filepath.Join(reports, fmt.Sprintf("%s-%d", time.Now().UTC().Format("2006-01-02-150405"), seed))
}

// saveEpisode writes all data of an episode, for Replay.
func saveEpisode(dir string, e record.Episode, v analyse.Verdict) error {
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = errors.Join(
			saveJSON(filepath.Join(dir, episodeFile), e),
			saveJSON(filepath.Join(dir, verdictFile), v),
			save(filepath.Join(dir, historyFile), func(w io.Writer) error {
				packed := gzip.NewWriter(w)
				return errors.Join(record.Write(packed, e.History), packed.Close())
			}))
	}
	if err != nil {
		return fmt.Errorf("save episode: %w", err)
	}
	return nil
}

// draw writes the timeline of an episode.
func draw(dir string, e record.Episode, v analyse.Verdict) error {
	return save(filepath.Join(dir, timelineFile), func(w io.Writer) error { return timeline.Write(w, e, v) })
}

// loadEpisode reads the files that saveEpisode wrote.
func loadEpisode(dir string) (e record.Episode, v analyse.Verdict, err error) {
	if err := errors.Join(loadJSON(filepath.Join(dir, episodeFile), &e), loadJSON(filepath.Join(dir, verdictFile), &v)); err != nil {
		return e, v, err
	}
	f, err := os.Open(filepath.Join(dir, historyFile))
	if err != nil {
		return e, v, err
	}
	defer f.Close()
	unpacked, err := gzip.NewReader(f)
	if err != nil {
		return e, v, fmt.Errorf("read %s: %w", f.Name(), err)
	}
	e.History, err = record.Read(unpacked)
	return e, v, err
}

// Replayed is an episode of a report that was judged again.
type Replayed struct {
	Name      string // name of its folder
	Episode   record.Episode
	Then, Now analyse.Verdict
}

// Same tells whether the new verdict equals the old one.
func (r Replayed) Same() bool {
	return slices.Equal(r.Then.Violations, r.Now.Violations) && slices.Equal(r.Then.Gaps, r.Now.Gaps) && r.Then.Unproven == r.Now.Unproven
}

// Replay judges all episodes of a report again, by the present rules, and writes their timelines.
func Replay(dir string) (out []Replayed, err error) {
	folders, err := filepath.Glob(filepath.Join(dir, "*", episodeFile))
	if err != nil {
		return nil, err
	}
	if len(folders) == 0 {
		return nil, fmt.Errorf("replay: no episode in %s", dir)
	}
	for _, path := range folders {
		folder := filepath.Dir(path)
		r := Replayed{Name: filepath.Base(folder)}
		if r.Episode, r.Then, err = loadEpisode(folder); err == nil {
			r.Now, err = analyse.Judge(r.Episode)
		}
		if err != nil {
			return out, fmt.Errorf("replay %s: %w", r.Name, err)
		}
		if err := draw(folder, r.Episode, r.Now); err != nil {
			return out, fmt.Errorf("replay %s: %w", r.Name, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func saveJSON(path string, v any) error {
	return save(path, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	})
}

func loadJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

func save(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
