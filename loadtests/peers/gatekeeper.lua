-- The access phase of the nginx peer: verify an HS256 token, then take one token of its subject's bucket in Redis.

local cjson = require("cjson.safe")
local ffi = require("ffi")

ffi.cdef([[
  const void *EVP_sha256(void);
  unsigned char *HMAC(const void *digest, const void *key, int key_len,
                      const unsigned char *text, size_t text_len, unsigned char *mac, unsigned int *mac_len);
]])

local secret = os.getenv("BENCH_SECRET")
local redis_port = tonumber(os.getenv("BENCH_REDIS_PORT"))
local sha256 = ffi.C.EVP_sha256() -- nginx itself is linked to libcrypto
local mac = ffi.new("unsigned char[32]")

local RATE, BURST = 1000000, 1000000 -- nothing is to be refused here

-- State: when the bucket will be full again, in microseconds.
local BUCKET = [[
  local clock = redis.call("TIME")
  local now = clock[1] * 1000000 + clock[2]
  local step = 1000000 / ARGV[1]
  local full_at = math.max(tonumber(redis.call("GET", KEYS[1]) or now), now) + step
  local over = full_at - now - step * ARGV[2]
  if over > 0 then return {0, math.ceil(over)} end
  redis.call("SET", KEYS[1], string.format("%.3f", full_at), "PX", math.ceil((full_at - now) / 1000) + 1)
  return {1, 0}
]]
local bucket_sha

local function bulk(text)
  text = tostring(text)
  return "$" .. #text .. "\r\n" .. text .. "\r\n"
end

local function read(socket)
  local line, failed = socket:receive()
  if not line then return nil, failed end
  local kind, rest = line:byte(1), line:sub(2)
  if kind == 58 then return tonumber(rest) end -- ":"
  if kind == 45 then return nil, rest end -- "-"
  if kind == 36 then -- "$"
    local value = socket:receive(tonumber(rest))
    socket:receive(2)
    return value
  end
  if kind == 42 then -- "*"
    local values = {}
    for index = 1, tonumber(rest) do values[index] = read(socket) end
    return values
  end
  return rest
end

local function ask(...)
  local socket = ngx.socket.tcp()
  socket:settimeout(1000)
  local connected, failed = socket:connect("127.0.0.1", redis_port)
  if not connected then return nil, failed end
  local words = { ... }
  local command = { "*", #words, "\r\n" }
  for _, word in ipairs(words) do command[#command + 1] = bulk(word) end
  socket:send(command)
  local reply, refused = read(socket)
  socket:setkeepalive(60000, 128)
  return reply, refused
end

local function decoded(text)
  text = text:gsub("[-_]", { ["-"] = "+", ["_"] = "/" })
  return ngx.decode_base64(text .. ("="):rep(-#text % 4))
end

local function subject_of(field)
  local signed, signature = field:match("^Bearer ([%w_-]+%.[%w_-]+)%.([%w_-]+)$")
  if not signed then return nil end
  ffi.C.HMAC(sha256, secret, #secret, signed, #signed, mac, nil)
  if ffi.string(mac, 32) ~= decoded(signature) then return nil end
  local head, payload = signed:match("^([^.]+)%.(.+)$")
  local announced, claims = cjson.decode(decoded(head)), cjson.decode(decoded(payload))
  if not announced or announced.alg ~= "HS256" or not claims or claims.exp <= ngx.time() then return nil end
  return claims.sub
end

local function admit()
  local field = ngx.var.http_authorization
  local subject = field and subject_of(field)
  if not subject then return ngx.exit(401) end
  bucket_sha = bucket_sha or ask("SCRIPT", "LOAD", BUCKET)
  local verdict = ask("EVALSHA", bucket_sha, 1, "bench:" .. subject, RATE, BURST)
  if not verdict then return ngx.exit(503) end
  if verdict[1] ~= 1 then return ngx.exit(429) end
end

return { admit = admit }
