package bench

import "io"
import "os"

func ReadFile(p string) (*Report, error) {
	f, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f)
}
func (r *Report) Print(w io.Writer) error { return nil }
func (r *Report) WriteFiles(dir string) error {
	os.MkdirAll(dir, 0o755)
	f, err := os.Create(dir + "/records.jsonl.gz")
	if err != nil {
		return err
	}
	defer f.Close()
	return r.Write(f)
}
func (r *Report) PutInto(p string) error { return nil }
