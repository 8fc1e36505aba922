"""Films of agents, beside their spikes or alone. matplotlib is imported when the first frame is drawn."""

from sb3_spiking.film.film import FilmedEpisode, check_film, film_episode, write_film

__all__ = ["FilmedEpisode", "check_film", "film_episode", "write_film"]
