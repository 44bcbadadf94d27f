package logstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/crawlbox/crawlbox/appliance/tasklog"
)

// Cursor is a place in the log of a task. The zero Cursor is its beginning.
type Cursor struct {
	File int   `json:"file"`
	At   int64 `json:"at"`   // of a block
	Line int   `json:"line"` // in the block
}

// Filter chooses lines. The zero Filter chooses all.
type Filter struct {
	Since  time.Time
	Match  *regexp.Regexp
	Errors bool // only those that tell of errors
}

func (f Filter) means(line tasklog.Line) bool {
	return (f.Since.IsZero() || !line.Time.Before(f.Since)) && (f.Match == nil || f.Match.MatchString(line.Text)) &&
		(!f.Errors || IsError(line.Text))
}

// skips reports whether no line of a block is meant, by its head.
func (f Filter) skips(h head) bool {
	return !f.Since.IsZero() && h.last.Before(f.Since) || f.Errors && !h.errors
}

// Page is a part of a log.
type Page struct {
	Lines []tasklog.Line
	Next  Cursor
	End   bool // there is no more now
}

// maxScanned bounds what is read for one page, in bytes, whatever is meant of it.
const maxScanned = 8 << 20

// errEnough ends a page.
var errEnough = errors.New("enough is read")

// reader reads one page.
type reader struct {
	filter  Filter
	most    int // bytes
	page    Page
	size    int // of the lines, in bytes
	scanned int
}

// Read returns the lines from a place on that a filter chooses, until they have so many bytes; ErrNotExist: there is no
// log of such a task.
func (s *Store) Read(ctx context.Context, id string, from Cursor, filter Filter, most int) (Page, error) {
	r := reader{filter: filter, most: most}
	files, pending, err := s.view(id)
	if err != nil {
		return r.page, err
	}
	r.page.Next = from
	for i, f := range files {
		switch {
		case f.number < r.page.Next.File:
			continue
		case f.number > r.page.Next.File:
			r.page.Next = Cursor{File: f.number}
		}
		err := r.file(ctx, s.path(id, f.number), f.size)
		switch {
		case errors.Is(err, errEnough):
			return r.page, nil
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, errDamaged): // it went meanwhile; the next one is good
		case err != nil:
			return r.page, err
		}
		if i < len(files)-1 {
			r.page.Next = Cursor{File: files[i+1].number}
		}
	}
	if len(files) > 0 && r.page.Next.At == files[len(files)-1].size {
		if errors.Is(r.lines(pending.first, pending.raw), errEnough) {
			return r.page, nil
		}
	}
	r.page.End = true
	return r.page, nil
}

// view returns the files of a task and what is in none yet, at one moment.
func (s *Store) view(id string) (files []file, pending lines, err error) {
	s.mu.Lock()
	e := s.tasks[id]
	if e == nil {
		s.mu.Unlock()
		return nil, pending, fs.ErrNotExist
	}
	w := e.writer
	files = slices.Clone(e.files)
	s.mu.Unlock()
	if w == nil {
		return files, pending, nil
	}
	w.mu.Lock() // it writes to no file meanwhile
	defer w.mu.Unlock()
	pending = w.pending
	pending.raw = slices.Clone(pending.raw)
	return w.files(), pending, nil
}

func (r *reader) file(ctx context.Context, path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for r.page.Next.At < size {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if r.scanned > maxScanned {
			return errEnough
		}
		h, err := readHead(f, r.page.Next.At, size)
		if err != nil {
			return err
		}
		if h.kind == kindLines && !r.filter.skips(h) {
			r.scanned += h.raw
			raw, err := readRaw(f, r.page.Next.At, h)
			if err == nil {
				err = r.lines(h.first, raw)
			}
			switch {
			case errors.Is(err, errDamaged):
				r.page.Lines = append(r.page.Lines, damaged(h))
			case err != nil:
				return err
			}
		}
		r.page.Next.At += headLen + int64(h.packed)
		r.page.Next.Line = 0
	}
	return nil
}

// damaged is the word for the lines of a block that can't be read.
func damaged(h head) tasklog.Line {
	text := fmt.Sprintf("%d lines are left out here: the file of logs is damaged", h.lines)
	return tasklog.Line{Time: h.first, Stream: Word, Text: text}
}

// lines takes those of a block.
func (r *reader) lines(first time.Time, raw []byte) error {
	return each(first, raw, func(i int, line tasklog.Line) error {
		if i < r.page.Next.Line {
			return nil
		}
		if r.size >= r.most {
			return errEnough
		}
		r.page.Next.Line = i + 1
		if r.filter.means(line) {
			r.page.Lines, r.size = append(r.page.Lines, line), r.size+len(line.Text)+32
		}
		return nil
	})
}

// Tail returns the place from which a log has its last n lines, or a few more from before.
func (s *Store) Tail(id string, n int) (Cursor, error) {
	files, pending, err := s.view(id)
	if err != nil {
		return Cursor{}, err
	}
	left := n - pending.lines
	for _, of := range slices.Backward(files) {
		type place struct {
			at    int64
			lines int
		}
		var blocks []place
		if f, err := os.Open(s.path(id, of.number)); err == nil {
			walk(f, of.size, func(at int64, h head) error {
				blocks = append(blocks, place{at, h.lines})
				return nil
			})
			_ = f.Close()
		}
		if left <= 0 {
			return Cursor{of.number, of.size, -left}, nil
		}
		for _, b := range slices.Backward(blocks) {
			if left -= b.lines; left <= 0 {
				return Cursor{of.number, b.at, -left}, nil
			}
		}
	}
	return Cursor{}, nil
}

const (
	// ExcerptLines is how many of a task's last lines are in its excerpt, and excerptErrors how many of the last that
	// tell of errors before them.
	ExcerptLines  = 200
	excerptErrors = 100
	// maxExcerpt bounds either, in bytes, and maxExcerptLine one line.
	maxExcerpt     = 64 << 10
	maxExcerptLine = 1 << 10
	// errorBlocks bounds the blocks that are read for lines of errors.
	errorBlocks = 32
)

// Excerpt returns what explains how a task ended, or stands: its last lines and those before them that tell of errors,
// as far as there is room for them.
func (s *Store) Excerpt(ctx context.Context, id string) (list []tasklog.Line, err error) {
	from, err := s.Tail(id, ExcerptLines)
	if err != nil {
		return nil, err
	}
	last, err := s.rest(ctx, id, from, Filter{})
	if err != nil {
		return nil, err
	}
	last = shorten(last, ExcerptLines)
	if len(last) == 0 {
		return nil, nil
	}
	failed, err := s.lastErrors(ctx, id, last[0].Time)
	if err != nil {
		return nil, err
	}
	if failed = shorten(failed, excerptErrors); len(failed) > 0 {
		text := "before this, only lines that tell of errors are known"
		failed = append(failed, tasklog.Line{Time: last[0].Time, Stream: Word, Text: text})
	}
	return append(failed, last...), nil
}

// rest returns the lines from a place on.
func (s *Store) rest(ctx context.Context, id string, from Cursor, filter Filter) (list []tasklog.Line, err error) {
	for len(list) < 10*ExcerptLines {
		page, err := s.Read(ctx, id, from, filter, maxScanned)
		if err != nil {
			return list, err
		}
		list = append(list, page.Lines...)
		if from = page.Next; page.End {
			break
		}
	}
	return list, nil
}

// lastErrors returns the last lines before a time that tell of errors.
func (s *Store) lastErrors(ctx context.Context, id string, before time.Time) (list []tasklog.Line, err error) {
	files, _, err := s.view(id)
	if err != nil {
		return nil, err
	}
	read := 0
	for _, of := range slices.Backward(files) {
		var blocks []Cursor
		f, err := os.Open(s.path(id, of.number))
		if err != nil {
			continue // it went meanwhile
		}
		walk(f, of.size, func(at int64, h head) error {
			if h.errors && h.first.Before(before) {
				blocks = append(blocks, Cursor{of.number, at, 0})
			}
			return nil
		})
		_ = f.Close()
		for _, b := range slices.Backward(blocks) {
			if read++; read > errorBlocks || len(list) >= excerptErrors {
				return list, nil
			}
			found, err := s.block(ctx, of, id, b, before)
			if err != nil {
				return list, err
			}
			list = append(found, list...)
		}
	}
	return list, nil
}

// block returns the lines of one block that tell of errors and are from before a time.
func (s *Store) block(ctx context.Context, of file, id string, at Cursor, before time.Time) ([]tasklog.Line, error) {
	f, err := os.Open(s.path(id, of.number))
	if err != nil {
		return nil, nil // it went meanwhile
	}
	defer f.Close()
	h, err := readHead(f, at.At, of.size)
	if err != nil {
		return nil, nil
	}
	raw, err := readRaw(f, at.At, h)
	if err != nil {
		return nil, nil
	}
	var list []tasklog.Line
	_ = each(h.first, raw, func(_ int, line tasklog.Line) error { // what is damaged ends it
		if line.Time.Before(before) && IsError(line.Text) {
			list = append(list, line)
		}
		return ctx.Err()
	})
	return list, nil
}

// shorten returns the last lines, cut, as far as an excerpt has room for them.
func shorten(list []tasklog.Line, most int) []tasklog.Line {
	size, from := 0, len(list)
	for from > 0 && len(list)-from < most {
		line := &list[from-1]
		if len(line.Text) > maxExcerptLine {
			line.Text, line.Cut = line.Text[:maxExcerptLine], true
		}
		if size += len(line.Text); size > maxExcerpt {
			break
		}
		from--
	}
	return slices.Clone(list[from:])
}
