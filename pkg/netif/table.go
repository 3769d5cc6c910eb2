package netif

import (
	"hash/maphash"
	"iter"
	"maps"
)

// shards is the number of parts of a table. With a thousand entries a change copies 16 entries and
// 64 pointers.
const shards = 64

var seed = maphash.MakeSeed()

// table is a map that assignment copies: the copy has its own entries from then on, and shares the
// unchanged parts with the original. So a snapshot costs the same with two interfaces and with a
// thousand. The zero table is empty.
type table[K comparable, V any] struct {
	parts [shards]map[K]V
}

func shard[K comparable](k K) int { return int(maphash.Comparable(seed, k) % shards) }

func (t *table[K, V]) get(k K) V { return t.parts[shard(k)][k] }

// set replaces one part by a new map: copies of t may share the old map.
func (t *table[K, V]) set(k K, v V) {
	i := shard(k)
	part := make(map[K]V, len(t.parts[i])+1)
	maps.Copy(part, t.parts[i])
	part[k] = v
	t.parts[i] = part
}

func (t *table[K, V]) delete(k K) {
	i := shard(k)
	if _, ok := t.parts[i][k]; !ok {
		return
	}
	part := maps.Clone(t.parts[i])
	delete(part, k)
	t.parts[i] = part
}

// all yields the values in no particular order.
func (t *table[K, V]) all() iter.Seq[V] {
	return func(yield func(V) bool) {
		for _, part := range t.parts {
			for _, v := range part {
				if !yield(v) {
					return
				}
			}
		}
	}
}
