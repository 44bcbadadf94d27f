BOT_NAME = 'quotes'
SPIDER_MODULES = ['quotes.spiders']
TELNETCONSOLE_ENABLED = False  # it would listen on the host's own network
