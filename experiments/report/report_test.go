package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"html"
	"image/png"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"credence/experiments/results"
	"credence/experiments/runs"
)

const demoConfig = `job: demo
data: {set: digits}
partition: {method: iid, clients: 3}
model: {kind: softmax}
training: {learning_rate: 0.1, epochs: 1}
rounds: 30
cohort_size: 3
sweep:
  strategy:
    fedavg: {name: fedavg}
    <script>alert(1)</script>: {name: fedprox, mu: 1}
  training.learning_rate: [0.1, 0.2, 0.3]
`

// demo is a run with made-up figures: groups with two seeds each.
func demo(t testing.TB, name string, settings []string, change func(*runs.Round)) *results.Run {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	var units []runs.Unit
	for cell, setting := range settings {
		for repeat := range 2 {
			units = append(units, runs.Unit{Cell: cell, Setting: setting, Repeat: repeat, Seed: uint64(repeat + 1)})
		}
	}
	w, err := runs.Create(dir, runs.Start{Config: []byte(demoConfig), Resolved: []byte("job: demo # </pre><script>\n"), Environment: runs.ThisMachine(time.Unix(1e9, 0)), Units: units, Rounds: 30 * len(units)})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range units {
		for n := 1; n <= 30; n++ {
			a := 1 - 0.8*math.Exp(-float64(n)/(6+2*float64(u.Cell))) - 0.01*float64(u.Repeat)
			loss := -math.Log(a)
			row := runs.Round{Run: name, Cell: u.Cell, Setting: u.Setting, Repeat: u.Repeat, Seed: u.Seed, Round: n, Cohort: 3, Clients: 3,
				TestAccuracy: &a, TestLoss: &loss, TrainLoss: &loss, AccuracyP10: &a, BytesUp: 345678, BytesDown: 12345, Seconds: 0.2,
				SecondsTrain: 0.1, SecondsEncrypt: 0.3, SecondsProve: 1.5, SecondsVerify: 0.2, SecondsDecrypt: 0.05, Credits: 90}
			if change != nil {
				change(&row)
			}
			if err := w.AddRound(row); err != nil {
				t.Fatal(err)
			}
		}
		var clients []runs.Client
		for i := range 3 {
			a := 0.7 + 0.1*float64(i)
			clients = append(clients, runs.Client{Run: name, Cell: u.Cell, Setting: u.Setting, Repeat: u.Repeat, Seed: u.Seed, Client: fmt.Sprintf("client-%d<i>", i),
				Samples: 30, Labels: []int64{10, int64(20 * i), 0, 3}, Accuracy: &a, Credits: 900})
		}
		if err := w.AddClients(clients); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(runs.Done, ""); err != nil {
		t.Fatal(err)
	}
	r, err := results.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func page1(t testing.TB, rs ...*results.Run) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, rs, Options{Version: "v1.2.3"}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// outside finds what would make a browser ask for something.
var outside = regexp.MustCompile(`(?i)(src|href|action|data|poster|srcset|background)\s*=\s*["']?[^#"'\s>]|url\(|@import|<(script|link|iframe|object|embed|form|base)\b|http-equiv="refresh"|https?:`)

var settings = []string{"strategy=fedavg", "strategy=<script>alert(1)</script>"}

// Settings that differ only at their ends are told apart beside bars and boxes.
func TestLongSettings(t *testing.T) {
	long := []string{"partition.alpha=0.1 training.learning_rate=0.05 clip.norm=1 server_rate=0.01", "partition.alpha=0.1 training.learning_rate=0.05 clip.norm=1 server_rate=0.02"}
	text := page1(t, demo(t, "first", long, nil))
	for _, rate := range []string{"0.01", "0.02"} {
		if n := strings.Count(text, "server_rate="+rate+"</text>"); n < 2 {
			t.Errorf("%d pictures name the setting with server_rate=%s", n, rate)
		}
	}
}

func TestReport(t *testing.T) {
	private := func(r *runs.Round) {
		if r.Cell == 0 {
			eps := 0.1 * float64(r.Round)
			r.Epsilon = &eps
			r.AttackSuccess = &eps
		}
	}
	many := []string{"a=1", "a=2", "a=3", "a=4", "a=5", "a=6"}
	for name, text := range map[string]string{
		"one setting": page1(t, demo(t, "one", []string{""}, nil)),
		"overlay":     page1(t, demo(t, "two", settings, private)),
		"multiples":   page1(t, demo(t, "many", many, private)),
		"comparison":  page1(t, demo(t, "first", settings, nil), demo(t, "second", []string{""}, private)),
	} {
		for _, want := range []string{"Results", "Learning curves", "Fairness", "Communication", "Time", "Privacy spent", "Credits", "Partition", "Configuration", "∞",
			"v1.2.3", "prefers-color-scheme:dark", "@media print", "Content-Security-Policy", "pd.read_parquet", "seed 1; 3 clients"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the page does not say %q", name, want)
			}
		}
		// What remains without the texts that it shows.
		if at := outside.FindString(strings.NewReplacer(`<a href="#`, "<a ").Replace(text)); at != "" {
			t.Errorf("%s: the page reaches outside: %q", name, at)
		}
		if strings.Contains(text, "<script") || strings.Contains(text, "client-0<i>") || strings.Contains(text, "NaN") {
			t.Errorf("%s: unescaped text, or a figure that is none", name)
		}
		dec := xml.NewDecoder(strings.NewReader(strings.Replace(text, "<!DOCTYPE html>", "", 1)))
		dec.Strict, dec.AutoClose, dec.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
		for ids := map[string]bool{}; ; {
			token, err := dec.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Errorf("%s: not well formed: %v", name, err)
				break
			}
			if start, ok := token.(xml.StartElement); ok {
				for _, a := range start.Attr {
					if a.Name.Local == "id" && ids[a.Value] {
						t.Errorf("%s: two elements are called %s", name, a.Value)
					} else if a.Name.Local == "id" {
						ids[a.Value] = true
					}
				}
			}
		}
	}
	if err := Write(io.Discard, nil, Options{}); err == nil {
		t.Error("a report on nothing")
	}
}

// The table of a sweep over two keys has a row and a column for each value.
func TestPivot(t *testing.T) {
	var all []string
	for _, s := range []string{"fedavg", "<script>alert(1)</script>"} {
		for _, rate := range []string{"0.1", "0.2", "0.3"} {
			all = append(all, "strategy="+s+" training.learning_rate="+rate)
		}
	}
	text := page1(t, demo(t, "grid", all, nil))
	if !strings.Contains(text, "Test accuracy by strategy and training.learning_rate") || !strings.Contains(text, `<th scope="col">0.3</th>`) {
		t.Error("there is no table by both keys")
	}
}

func TestTicks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.Float64Range(-1e6, 1e6).Draw(t, "low")
		high := low + rapid.Float64Range(1e-3, 1e6).Draw(t, "span")
		ticks := niceTicks(low, high, 5)
		if len(ticks) < 2 || len(ticks) > 7 {
			t.Fatalf("%d ticks in [%v, %v]: %v", len(ticks), low, high, ticks)
		}
		for _, v := range ticks {
			if span := high - low; v < low-1e-6*span || v > high+1e-6*span {
				t.Fatalf("tick %v is outside [%v, %v]", v, low, high)
			}
		}
	})
	if got := niceTicks(1, 1, 5); len(got) != 1 {
		t.Errorf("no span: %v", got)
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		bytesText(12):           "12 B",
		bytesText(1.5e6):        "1.50 MB",
		secondsText(0.004):      "4 ms",
		secondsText(5e-6):       "5 µs",
		secondsText(300):        "5.0 min",
		secondsText(9000):       "2.5 h",
		percentTick(-0.0000001): "0 %",
		probability(0.0001):     "< 0.001",
		probability(math.NaN()): "–",
		compact(123456):         "123.5k",
		cut("abcdef", 4):        "abc…",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// browser runs Chromium on a page; every request that leaves it goes to a proxy
// of the test and is returned.
func browser(t *testing.T, program, address string, args ...string) (out []byte, requests []string) {
	t.Helper()
	var mu sync.Mutex
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		requests = append(requests, r.Host)
		http.Error(w, "no network", http.StatusForbidden)
	}))
	defer proxy.Close()
	dir := t.TempDir()
	args = append([]string{"--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--no-first-run", "--disable-dev-shm-usage", "--user-data-dir=" + dir, "--proxy-server=" + proxy.URL}, args...)
	cmd := exec.CommandContext(t.Context(), program, append(args, address)...)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	mu.Lock()
	defer mu.Unlock()
	return out, requests
}

// ownRequest tells the browser's own requests, which it makes on any page.
func ownRequest(host string) bool {
	host, _, _ = strings.Cut(host, ":")
	for _, own := range []string{"google.com", "googleapis.com", "gstatic.com", "gvt1.com", "googleusercontent.com", "debian.org"} {
		if host == own || strings.HasSuffix(host, "."+own) {
			return true
		}
	}
	return false
}

// TestScreenshots looks at a report in a browser: light and dark, as wide as a
// desk and as a telephone. CREDENCE_SCREENSHOTS keeps the pictures.
func TestScreenshots(t *testing.T) {
	program := os.Getenv("CREDENCE_CHROMIUM")
	if program == "" {
		t.Skip("set CREDENCE_CHROMIUM=chromium (apt-get install chromium) to look at a report in a browser")
	}
	dir := t.TempDir()
	text := page1(t, demo(t, "two", settings, nil))
	path := filepath.Join(dir, "report.html")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(path, text)
	background := map[string][3]uint32{"light": {0xff, 0xff, 0xff}, "dark": {0x0f, 0x13, 0x18}}
	for scheme, want := range background {
		for _, width := range []int{1280, 390} {
			name := fmt.Sprintf("report-%s-%d.png", scheme, width)
			shot := filepath.Join(dir, name)
			preferred := map[string]int{"dark": 0, "light": 1}[scheme]
			_, requests := browser(t, program, "file://"+path, fmt.Sprintf("--window-size=%d,2400", width),
				"--screenshot="+shot, fmt.Sprintf("--blink-settings=preferredColorScheme=%d", preferred))
			for _, host := range requests {
				if !ownRequest(host) {
					t.Errorf("%s: the page made a request to %s", name, host)
				}
			}
			raw, err := os.ReadFile(shot)
			if err != nil {
				t.Fatal(err)
			}
			img, err := png.Decode(bytes.NewReader(raw))
			if err != nil {
				t.Fatal(err)
			}
			r, g, b, _ := img.At(2, 2).RGBA()
			if got := [3]uint32{r >> 8, g >> 8, b >> 8}; got != want || img.Bounds().Dx() != width {
				t.Errorf("%s: background %x, %d wide; want %x, %d", name, got, img.Bounds().Dx(), want, width)
			}
			colours := map[[3]uint32]bool{}
			for y := 0; y < img.Bounds().Dy(); y += 2 {
				for x := range img.Bounds().Dx() {
					r, g, b, _ := img.At(x, y).RGBA()
					colours[[3]uint32{r >> 8, g >> 8, b >> 8}] = true
				}
			}
			if len(colours) < 50 {
				t.Errorf("%s: %d colours: charts are missing", name, len(colours))
			}
			if keep := os.Getenv("CREDENCE_SCREENSHOTS"); keep != "" {
				if err := os.WriteFile(filepath.Join(keep, name), raw, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	// On a telephone the page is no wider than the screen: only tables scroll.
	frame := filepath.Join(dir, "frame.html")
	write(frame, `<body><iframe id="f" style="width:390px;height:800px;border:0" srcdoc="`+html.EscapeString(text)+
		`"></iframe><script>onload=function(){document.body.dataset.width=document.getElementById("f").contentDocument.documentElement.scrollWidth}</script>`)
	out, _ := browser(t, program, "file://"+frame, "--dump-dom", "--window-size=1280,1000")
	if m := regexp.MustCompile(`data-width="(\d+)"`).FindSubmatch(out); m == nil || string(m[1]) != "390" {
		t.Errorf("on 390 pixels the page is %q wide", m)
	}
	// The proxy sees what a page asks for, and the page's policy keeps it from asking.
	beacon := `<img src="http://beacon.invalid/x.png">`
	for _, c := range []struct {
		name, text string
		asks       bool
	}{
		{"without policy", "<body>" + beacon, true},
		{"with policy", strings.Replace(text, "<footer>", beacon+"<footer>", 1), false},
	} {
		write(frame, c.text)
		_, requests := browser(t, program, "file://"+frame, "--dump-dom")
		if asked := strings.Contains(strings.Join(requests, " "), "beacon.invalid"); asked != c.asks {
			t.Errorf("%s: requests to %q", c.name, requests)
		}
	}
}
