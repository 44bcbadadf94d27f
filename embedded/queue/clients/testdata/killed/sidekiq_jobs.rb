# Jobs of Sidekiq. Run as a program, it asks for so many; argument: their number.
require "sidekiq"

RECORD = File.open(ENV["RECORD"], File::WRONLY | File::APPEND | File::CREAT)

class Crawl
  include Sidekiq::Worker

  def perform(item)
    RECORD.syswrite("begun #{item}\n")
    sleep [0.005, 0.01, 0.01, 0.02, 0.05].sample * ENV.fetch("SLOWER", 1).to_f
    RECORD.syswrite("done #{item}\n")
  end
end

ARGV[0].to_i.times { |i| Crawl.perform_async("item-#{i}") } if $PROGRAM_NAME == __FILE__
