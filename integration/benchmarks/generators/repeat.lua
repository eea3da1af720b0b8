-- wrk's script for http.py: sends one request again and again (`wrk -s repeat.lua URL -- FILE`); see replay.lua.
-- Without a function `request` wrk asks for the request once, instead of copying it, of 4 MiB perhaps, each time.
function init(args)
   local file = assert(io.open(args[1], "rb"))
   local raw = file:read(tonumber(file:read("*l")))
   file:close()
   wrk.format = function() return raw end
end
