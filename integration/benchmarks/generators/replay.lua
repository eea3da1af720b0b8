-- wrk's script for http.py: sends the requests of a file in turn, as raw bytes (`wrk -s replay.lua URL -- FILE`).
-- The file holds each request behind a line with its length in bytes, as scenarios.py writes it.
local requests, at = {}, 0

function init(args)
   local file = assert(io.open(args[1], "rb"))
   local length = file:read("*l")
   while length do
      requests[#requests + 1] = file:read(tonumber(length))
      length = file:read("*l")
   end
   file:close()
end

function request()
   at = at % #requests + 1
   return requests[at]
end
