package redis

import "github.com/redis/go-redis/v9"

// A server runs a script atomically. Each script calls a command that writes, even if it only reads. So a replica, which may
// be behind, refuses the script.
var (
	// appendScript adds ARGV[2] if ARGV[1] is the newest id, or if ARGV[1] and the stream are empty. It returns the new id,
	// which ends with ARGV[3], or nil. It drops entries older than ARGV[4] ms. The stream expires when the newest entry is that
	// old. PUBLISH comes first, because Redis undoes nothing when a later command fails.
	appendScript = redis.NewScript(`
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if (newest and newest[1] or '') ~= ARGV[1] then return false end
local clock = redis.call('TIME')
local ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
if newest then ms = math.max(ms, string.match(newest[1], '%d+') + 1) end
local id = string.format('%.0f-%s', ms, ARGV[3])
redis.call('PUBLISH', ARGV[5], '')
redis.call('XADD', KEYS[1], 'MINID', string.format('%.0f', ms - ARGV[4]), id, '` + field + `', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return id`)

	// headScript returns the newest entry, or nil.
	headScript = redis.NewScript(`
redis.call('XTRIM', KEYS[1], 'MINID', 0)
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
return newest and {newest[1], unpack(newest[2])}`)

	// peekScript returns 1 if there is an entry after ARGV[1], -1 if the entry ARGV[1] is gone from a stream that is not
	// empty, and 0 otherwise.
	peekScript = redis.NewScript(`
redis.call('XTRIM', KEYS[1], 'MINID', 0)
if #redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', 1) > 0 then return 1 end
if redis.call('XLEN', KEYS[1]) > 0 and #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return -1 end
return 0`)

	// trimScript drops the entries before ARGV[1], but not the newest one.
	trimScript = redis.NewScript(`
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if not newest then return 0 end
local first = ARGV[1]
if #redis.call('XRANGE', KEYS[1], first, '+', 'COUNT', 1) == 0 then first = newest[1] end
return redis.call('XTRIM', KEYS[1], 'MINID', first)`)
)
